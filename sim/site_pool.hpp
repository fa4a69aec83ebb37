#pragma once

#include "sim/fault_timeline.hpp"
#include "sim/loss_counts.hpp"
#include "sim/operation.hpp"

#include <cstdint>
#include <vector>

namespace runflat::sim {

/// How TP sites tile the NVLink domains, all whole, of the hardware that a job owns.
struct SiteShape {
  ClusterShape cluster{};
  std::int32_t tp = 1;             ///< full degree; at most the domain
  std::int32_t num_job_sites = 0;  ///< sites that the full job uses; the other ones are spares

  [[nodiscard]] std::int32_t sites_per_domain() const { return cluster.domain_size / tp; }
  [[nodiscard]] std::int32_t num_sites() const {
    return cluster.num_domains() * sites_per_domain();
  }
};

/// The GPUs of one job through faults and repairs: which are down and which play a role. Inside a
/// domain any healthy GPU can take any role, so that losses gather on the domain's last sites; GPUs
/// beyond a whole number of sites replace lost ones first. Within a domain the active GPUs are the
/// first healthy ones.
class SitePool {
 public:
  /// Everything is healthy; the first `num_job_sites` sites run at the full degree.
  explicit SitePool(const SiteShape& shape);

  /// True when an active GPU was hit. Job faults hit none.
  bool fail(const Fault& fault);
  void repair(const Fault& fault);

  /// All owned sites.
  [[nodiscard]] const LossCounts& counts() const { return counts_; }
  [[nodiscard]] SiteCensus census() const { return counts_.census(); }
  /// Only the sites that a job without spares would own.
  [[nodiscard]] const LossCounts& job_counts() const { return job_counts_; }
  [[nodiscard]] SiteCensus job_census() const { return job_counts_.census(); }
  /// Gives the sites their roles; `operation` was made for the present census().
  void apply(const Operation& operation);

  /// Whether one of these GPUs, of those that are up, is active.
  [[nodiscard]] bool hits_active(ComponentRange gpus) const;
  /// GPUs that a site lacks, 0 to tp.
  [[nodiscard]] std::int32_t num_lost(std::int32_t site) const {
    return lost_[static_cast<std::size_t>(site)];
  }
  [[nodiscard]] std::int64_t num_gpus() const { return shape_.cluster.num_gpus(); }
  [[nodiscard]] std::int64_t num_failed_gpus() const { return num_failed_gpus_; }
  [[nodiscard]] std::int64_t num_active_gpus() const {
    return num_full_ * full_degree_ + num_reduced_gpus_;
  }

 private:
  /// The degree of sites at the full one, whatever that is.
  static constexpr std::int32_t kFull = -1;

  void add_down(const Fault& fault, std::int32_t change);
  void update_sites(std::int32_t domain);
  void set_loss(std::int32_t site, std::int32_t lost);
  void set_role(std::int32_t site, std::int32_t degree);
  void assign_damaged(const std::vector<std::int32_t>& degrees);
  void demote_full_sites(std::int64_t num);
  [[nodiscard]] std::int32_t num_lost_now(std::int32_t site) const;
  [[nodiscard]] std::int32_t degree_of(std::int32_t site) const;

  SiteShape shape_;
  std::vector<std::uint16_t> down_;     // faults that hold each GPU down
  std::vector<std::int32_t> num_down_;  // GPUs of each domain
  std::vector<std::int32_t> lost_;      // GPUs of each site
  std::vector<std::int32_t> degree_;    // of every site: 0 when it plays no role, or kFull
  std::vector<std::vector<std::int32_t>> damaged_;  // sites by GPUs lost, each ascending
  std::vector<std::int32_t> not_full_;  // healthy sites below the full degree, ascending
  std::vector<std::int32_t> working_;  // all that may have a role, are not full, and are healthy or
                                       // not yet known to the operation
  bool uses_damaged_ = false;          // the operation gives roles to damaged sites
  LossCounts counts_;
  LossCounts job_counts_;
  std::int32_t full_degree_ = 0;
  std::int64_t num_full_ = 0;          // sites at kFull
  std::int64_t num_reduced_gpus_ = 0;  // active GPUs of the other ones
  std::int64_t num_failed_gpus_ = 0;
};

}  // namespace runflat::sim

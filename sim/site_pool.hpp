#pragma once

#include "sim/fault_timeline.hpp"
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
  [[nodiscard]] SiteCensus census() const;
  /// Only the sites that a job without spares would own.
  [[nodiscard]] SiteCensus job_census() const;
  /// Gives the sites their roles; `operation` was made for the present census().
  void apply(const Operation& operation);

  /// GPUs that a site lacks, 0 to tp.
  [[nodiscard]] std::int32_t num_lost(std::int32_t site) const;
  [[nodiscard]] std::int64_t num_gpus() const { return shape_.cluster.num_gpus(); }
  [[nodiscard]] std::int64_t num_failed_gpus() const { return num_failed_gpus_; }
  [[nodiscard]] std::int64_t num_active_gpus() const { return num_active_gpus_; }

 private:
  struct Domain {
    std::int32_t num_down = 0;
    std::int32_t num_active = 0;
  };

  void add_down(const Fault& fault, std::int32_t change);
  void update_sites(std::int32_t domain);
  void set_role(std::int32_t site, std::int32_t degree);
  void set_full_degree(std::int32_t degree);
  void demote_full_sites(std::int64_t num);
  [[nodiscard]] bool is_active(std::int32_t gpu) const;
  [[nodiscard]] SiteCensus census_of(std::int32_t num_sites, std::int64_t num_damaged) const;

  SiteShape shape_;
  std::vector<std::uint16_t> down_;  // faults that hold each GPU down
  std::vector<Domain> domains_;
  std::vector<std::int32_t> degree_;    // of every site: 0 when it plays no role
  std::vector<std::int32_t> damaged_;   // sites, most lost first, then by number
  std::vector<std::int32_t> not_full_;  // healthy sites below the full degree, ascending
  std::int32_t full_degree_ = 0;
  std::int64_t num_failed_gpus_ = 0;
  std::int64_t num_active_gpus_ = 0;
};

}  // namespace runflat::sim

#pragma once

#include "core/units.hpp"
#include "sim/distribution.hpp"
#include "sim/fault_timeline.hpp"

#include <string>
#include <vector>

namespace runflat {
class Reader;
}

namespace runflat::sim {

/// One kind of failure of a cluster.
///
/// Arrivals are one renewal process for the class over the whole cluster, and each fault hits a
/// component drawn uniformly. The process starts in equilibrium, so the expected number of faults
/// in any span is rate x span, for every shape. With shape k the coefficient of variation of the
/// time between faults of the class is that of a Weibull(k): 1 at k = 1 (a Poisson process), 1.67
/// at 0.62.
///
/// Why the cluster and not each component: published shapes are fitted to the pooled times between
/// faults of a cluster, and a renewal process of each component would not give them back: thousands
/// superposed are nearly Poisson, whatever the shape. Independent classes superposed keep the
/// variance of counts: over long spans the variance-to-mean ratio is the rate-weighted mean of the
/// classes' squared coefficients of variation, but single gaps look more exponential than one
/// class's.
struct FailureClass {
  std::string name;
  BlastRadius blast_radius = BlastRadius::gpu;
  double rate_per_node_day = 0.0;  ///< faults of the class per node and day, before `scale`
  double arrival_shape = 1.0;      ///< Weibull shape of the time between faults of the class
  Distribution repair{};           ///< from the fault to the component's return
  Detection detection = Detection::crash;

  friend bool operator==(const FailureClass&, const FailureClass&) = default;
};

/// Everything that fails in a cluster, and how fast it is repaired.
struct FailureModel {
  std::vector<FailureClass> classes;
  double scale = 1.0;  ///< multiplies every rate
  Days warm_up{};      ///< failures before the job starts; 0: everything is up at the start

  /// Faults of all classes per node and day, `scale` included.
  [[nodiscard]] double rate_per_node_day() const;

  friend bool operator==(const FailureModel&, const FailureModel&) = default;
};

/// Mean time between faults of `num_nodes` nodes together; infinite at rate zero.
[[nodiscard]] Hours mean_time_between_faults(double rate_per_node_day, double num_nodes);

/// Reads the table `failures` of a scenario for a cluster of this shape:
///   scale = 1.0            warm_up_days = 0          (both optional; any unit of time)
///   [[failures.class]]
///   name = "gpu_hbm"
///   blast_radius = "gpu"                gpu | node | domain | job
///   rate_per_1000_node_days = 2.4       or rate_per_gpu_day, or mtbf_hours of one such component
///   arrival_shape = 0.62                optional, 1 (exponential) unless given
///   repair = {kind = "lognormal", ...}  read_distribution(); else the table's own `repair`; a `job`
///                                       fault is down no longer than it takes to restart
///   detection = "crash"                 optional, crash | hang
/// The mtbf of a job is that of the whole cluster.
[[nodiscard]] FailureModel read_failure_model(const Reader& place, const ClusterShape& shape);

}  // namespace runflat::sim

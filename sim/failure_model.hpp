#pragma once

#include "core/units.hpp"
#include "sim/distribution.hpp"
#include "sim/failure_process.hpp"
#include "sim/fault_timeline.hpp"

#include <cstdint>
#include <optional>
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
///
/// Batches, recurrences and silence change when and together with what faults happen, not how many:
/// the rate is that of all faults of the class in the long run. With a recurrence after a share p
/// of repairs and batches of b faults on average, rate x (1 - p) / b batches arrive. (A cold start
/// has no repairs yet, so its first recurrences are late by about a repair and a delay.)
struct FailureClass {
  std::string name;
  BlastRadius blast_radius = BlastRadius::gpu;
  double rate_per_node_day = 0.0;  ///< faults of the class per node and day, before `scale`
  double arrival_shape = 1.0;      ///< Weibull shape of the time between faults of the class
  Distribution repair{};           ///< from the fault to the component's return
  Detection detection = Detection::crash;
  BatchLaw batches{};
  Recurrence refault{};                    ///< the repair did not hold
  Recurrence infant_mortality{};           ///< the replacement dies young
  std::vector<RateStep> rate_over_time{};  ///< a renewal process in operational_time()
  Distribution silence{};          ///< from the corruption, at an arrival, until it is found
  std::optional<Slowness> slow{};  ///< a straggler: `repair` is how long it is slow

  std::int32_t together = 1;  ///< adjacent components that a fault hits at once: those of one
                              ///< power feed or leaf switch; not weighted by node rates
  std::optional<Drain> drain{};

  /// The share of repairs after which the component fails again.
  [[nodiscard]] double recurrence() const {
    return refault.probability + infant_mortality.probability;
  }
  /// Batches that arrive for each fault.
  [[nodiscard]] double arrivals_per_fault() const {
    return (1.0 - recurrence()) / batches.mean_size();
  }

  friend bool operator==(const FailureClass&, const FailureClass&) = default;
};

/// Everything that fails in a cluster, and how fast it is repaired.
struct FailureModel {
  std::vector<FailureClass> classes;
  double scale = 1.0;  ///< multiplies every rate
  Days warm_up{};      ///< failures before the job starts; 0: everything is up at the start
  /// Shape k of the nodes' rate multipliers, Gamma of mean 1 and variance 1 / k, drawn once for
  /// each trial and scaled to an average of 1 over the cluster: faults of a node and of its GPUs
  /// hit it that many times as often. Counts for each node over any span are then
  /// Dirichlet-multinomial, which for many nodes is negative binomial of size k. None: all nodes
  /// are alike.
  std::optional<double> node_rate_shape{};
  std::vector<Maintenance> maintenance{};

  /// The names that a Fault's class_index means: the classes', then the maintenance's.
  [[nodiscard]] std::vector<std::string> class_names() const;
  /// Faults of all classes per node and day, `scale` included; stragglers are no faults.
  [[nodiscard]] double rate_per_node_day() const;

  friend bool operator==(const FailureModel&, const FailureModel&) = default;
};

/// Mean time between faults of `num_nodes` nodes together; infinite at rate zero.
[[nodiscard]] Hours mean_time_between_faults(double rate_per_node_day, double num_nodes);

/// Reads the table `failures` of a scenario for a cluster of this shape:
///   include = "faults.toml"             optional: begins with the table `failures` of that file,
///                                       as `runflat faults fit` writes it, found from the folder
///                                       of this one; the keys here replace its, the classes join
///   scale = 1.0            warm_up_days = 0          (all optional; any unit of time)
///   node_rate_shape = 0.93
///   [[failures.class]]
///   name = "gpu_hbm"
///   blast_radius = "gpu"                gpu | node | domain | job
///   rate_per_1000_node_days = 2.4       or rate_per_gpu_day, or mtbf_hours of one such component
///   arrival_shape = 0.62                optional, 1 (exponential) unless given
///   repair = {kind = "lognormal", ...}  read_distribution(); else the table's own `repair`; a
///   `job`
///                                       fault is down no longer than it takes to restart
///   detection = "crash"                 optional, crash | hang | timeout
/// and, all optional, with the laws of sim/failure_process.hpp and FailureClass:
///   batches = {sizes = [467, 24, 6], within_seconds = 60}
///   refault = {probability = 0.3, delay = {...}}
///   infant_mortality = {probability = 0.05, delay = {...}}
///   rate_over_time = [{from_days = 30, factor = 3}]
///   silence = {kind = "exponential", mean_hours = 20}
///   slow = {speed = 0.7, resource = "compute"}
///   component = "leaf_switch"           instead of blast_radius: what it and its repair take down
///                                       or slow follows from the graph of compiled_component(), of
///                                       failures.hardware = "dgx_h100" | "gb200_nvl72" |
///                                       "generic"; an mtbf is that of one such component
///   swap = {kind = "constant", value_hours = 1}        of a component: the end of the repair, for
///                                       which its node or domain is drained
///   [[failures.maintenance]]
///   name = "firmware"      blast_radius = "node"     first = 0     count = 64
///   at_days = 10           duration_hours = 4        stagger_hours = 1     every_days = 90
/// The mtbf of a job is that of the whole cluster.
[[nodiscard]] FailureModel read_failure_model(const Reader& place, const ClusterShape& shape);

}  // namespace runflat::sim

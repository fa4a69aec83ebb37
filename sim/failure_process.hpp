#pragma once

#include "core/units.hpp"
#include "sim/distribution.hpp"
#include "sim/fault_timeline.hpp"

#include <optional>
#include <string>
#include <vector>

namespace runflat {
class Reader;
}

namespace runflat::sim {

/// How many faults of a class come together. A batch is one arrival: the first fault happens at
/// it, the others uniformly within `spread` after it, on other components.
struct BatchLaw {
  std::vector<double> weights{};  ///< [i]: of i + 1 faults together; empty: always one
  Seconds spread{60.0};

  /// Sum of (i + 1) w_i over sum of w_i; 1 where there are no weights.
  [[nodiscard]] double mean_size() const;

  friend bool operator==(const BatchLaw&, const BatchLaw&) = default;
};

/// After a repair, with this probability, the same component fails again `delay` later: a repair
/// that did not hold, or a replacement that dies young. Such a fault may recur itself.
struct Recurrence {
  double probability = 0.0;
  Distribution delay{};

  friend bool operator==(const Recurrence&, const Recurrence&) = default;
};

/// From day `from` on, until the next step, a rate is `factor` times its usual value.
struct RateStep {
  Days from{};
  double factor = 1.0;

  friend bool operator==(const RateStep&, const RateStep&) = default;
};

/// The integral of the factor over [begin, end]; before the first step it is 1. Ascending steps.
[[nodiscard]] Days operational_time(const std::vector<RateStep>& steps, Days begin, Days end);

/// How much slower a straggler is than its healthy self.
struct Slowness {
  Resource resource = Resource::compute;
  double speed = 0.5;  ///< of the healthy speed, 0 < speed < 1

  friend bool operator==(const Slowness&, const Slowness&) = default;
};

/// The end of a repair takes down more than the fault did: the whole node or domain, announced.
struct Drain {
  BlastRadius blast_radius = BlastRadius::node;
  Distribution duration{};  ///< no longer than the repair

  friend bool operator==(const Drain&, const Drain&) = default;
};

/// Dated work on components [first, first + num): each is down for `duration`, the i-th from
/// `at` + i x `stagger` on, and again after each `period`. Announced, so nobody has to detect it.
struct Maintenance {
  std::string name;
  BlastRadius blast_radius = BlastRadius::node;
  ComponentRange components{};
  Days at{};
  Seconds duration{};
  Seconds stagger{};
  std::optional<Days> period{};

  friend bool operator==(const Maintenance&, const Maintenance&) = default;
};

/// {sizes = [467, 24, 6, 3], within_seconds = 60}: weights of 1, 2, ... faults together.
[[nodiscard]] BatchLaw read_batches(const Reader& place);

/// {probability = 0.3, delay = {kind = "lognormal", ...}}; the probability is at most 0.95.
[[nodiscard]] Recurrence read_recurrence(const Reader& place);

/// [{from_days = 0, factor = 3}, {from_days = 30, factor = 1}], ascending.
[[nodiscard]] std::vector<RateStep> read_rate_over_time(const Reader& place);

/// {speed = 0.7, resource = "compute"}; the resource is compute unless given.
[[nodiscard]] Slowness read_slowness(const Reader& place);

/// {name = "firmware", blast_radius = "node", first = 0, count = 64, at_days = 10,
///  duration_hours = 4, stagger_hours = 1, every_days = 90}; `first` is 0 unless given, `stagger`
/// zero, and `every` never. Not for a job.
[[nodiscard]] Maintenance read_maintenance(const Reader& place, const ClusterShape& shape);

}  // namespace runflat::sim

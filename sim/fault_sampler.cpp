#include "sim/fault_sampler.hpp"

#include "sim/fault_stream.hpp"

#include <cmath>
#include <cstddef>
#include <utility>
#include <vector>

namespace runflat::sim {

FaultTimeline sample_faults(const FailureModel& model,
                            const ClusterShape& shape,
                            SimTime duration,
                            std::uint64_t seed,
                            std::uint32_t trial_number) {
  FaultStream stream(model, shape, duration, seed, trial_number);
  std::vector<Fault> faults;
  std::vector<Slowdown> slowdowns;
  const double expected = stream.num_expected();
  faults.reserve(static_cast<std::size_t>(expected + 4.0 * std::sqrt(expected)) + 8);
  while (const auto window = stream.next()) {
    faults.insert(faults.end(), window->faults.begin(), window->faults.end());
    slowdowns.insert(slowdowns.end(), window->slowdowns.begin(), window->slowdowns.end());
  }
  return make_fault_timeline(shape, duration, std::move(faults), std::move(slowdowns));
}

}  // namespace runflat::sim

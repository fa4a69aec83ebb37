#pragma once

#include "core/error.hpp"
#include "core/model.hpp"
#include "core/units.hpp"
#include "sim/hardware.hpp"
#include "sim/memory_cost.hpp"
#include "sim/step_query.hpp"
#include "sim/step_terms.hpp"

namespace runflat::sim {

/// Where a step's time goes on its busiest stage. The parts sum to `total()`, the step time.
struct StepBreakdown {
  Seconds gemm{};
  Seconds attention{};
  Seconds streaming{};  ///< memory-bound kernels
  Seconds host{};       ///< launches that the GPU waits for
  Seconds tensor{};     ///< exposed communication of each kind
  Seconds context{};
  Seconds expert{};
  Seconds pipeline{};
  Seconds data{};
  Seconds reshard{};    ///< NTP: between compute and sync map
  Seconds bubble{};     ///< waiting for other stages
  Seconds straggler{};  ///< waiting for the slowest node
  Seconds optimizer{};

  [[nodiscard]] Seconds compute() const { return gemm + attention + streaming; }
  [[nodiscard]] Seconds total() const {
    return compute() + host + tensor + context + expert + pipeline + data + reshard + bubble +
           straggler + optimizer;
  }
};

/// One training step of one replica, with the communication that its peers take part in.
struct StepCost {
  Seconds step_time{};
  StepBreakdown breakdown;
  MemoryCost memory;
  double tokens_per_second = 0.0;   ///< of all dp replicas, if all have this shape
  FlopsPerSecond model_flops_rate;  ///< per GPU; model FLOPs as ModelSpec::flops_per_sequence
  double mfu = 0.0;                 ///< of the 16-bit peak, or of the 8-bit one for fp8
};

/// The closed form. A pipeline takes M rounds of its slowest stage, and filling and draining it the
/// sum of the other stages divided by the virtual stages:
///   t = (M t_max + (sum t - t_max) / v)(1 + straggler) + optimizer + exposed synchronisation
/// where synchronisation hides behind the last microbatch as far as the release overlaps it.
/// Total for every degree: either a cost or the reason why there is none. Never allocates on
/// success.
[[nodiscard]] Expected<StepCost, Infeasible> step_cost(const ModelSpec& model,
                                                       const StepQuery& query,
                                                       const HardwareParameters& on);

/// Whether the fullest rank fits, with `reserved` bytes for the context and libraries.
[[nodiscard]] bool fits_memory(const StepCost& cost,
                               const HardwareParameters& on,
                               Bytes reserved = {3.0e9});

}  // namespace runflat::sim

#pragma once

#include "core/model.hpp"
#include "core/units.hpp"
#include "sim/hardware.hpp"
#include "sim/step_query.hpp"

namespace runflat::sim {

/// Parameters on the busiest rank of a stage, in elements.
struct StageParameters {
  double layers = 0.0;      ///< dense parameters of its layers
  double experts = 0.0;     ///< parameters of its experts
  double embedding = 0.0;   ///< embedding or output layer
  double replicated = 0.0;  ///< of `layers`: not divided by tensor parallelism (norms)

  [[nodiscard]] double dense() const { return layers + embedding; }
  [[nodiscard]] double total() const { return layers + experts + embedding; }
};

/// What one rank of a stage holds at the step's peak.
struct StageMemory {
  Bytes parameters;  ///< 16-bit weights
  Bytes gradients;
  Bytes optimizer;    ///< fp32 master and two moments
  Bytes activations;  ///< of all microbatches in flight
  Bytes buffers;      ///< logits and their gradient, gathered parameters

  [[nodiscard]] Bytes total() const {
    return parameters + gradients + optimizer + activations + buffers;
  }
};

/// The two stages that can be the fullest: the first holds the most microbatches, the last the
/// logits.
struct MemoryCost {
  StageMemory first;
  StageMemory last;

  [[nodiscard]] Bytes peak() const {
    return first.total() < last.total() ? last.total() : first.total();
  }
};

/// Elements of the first stage (`last` false) or of the last one.
[[nodiscard]] StageParameters stage_parameters(const ModelSpec& model,
                                               const StepQuery& query,
                                               const RankShare& share,
                                               bool last);

/// Activations that one layer keeps of one microbatch until its backward (Korthikanti et al., 2022,
/// section 4, for any head and MLP shape).
[[nodiscard]] Bytes layer_activations(const ModelSpec& model,
                                      const StepQuery& query,
                                      const RankShare& share,
                                      const HardwareParameters& on);

[[nodiscard]] MemoryCost memory_cost(const ModelSpec& model,
                                     const StepQuery& query,
                                     const RankShare& share,
                                     const HardwareParameters& on);

}  // namespace runflat::sim

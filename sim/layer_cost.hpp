#pragma once

#include "core/model.hpp"
#include "sim/hardware.hpp"
#include "sim/step_query.hpp"

namespace runflat::sim {

/// One pass of one microbatch through something, split by what the time goes to. Communication is
/// the exposed part; `host` is the launch time that the rest does not cover.
struct PhaseCost {
  Seconds gemm{};
  Seconds attention{};
  Seconds streaming{};
  Seconds tensor{};
  Seconds context{};
  Seconds expert{};
  Seconds host{};

  [[nodiscard]] Seconds compute() const { return gemm + attention + streaming; }
  [[nodiscard]] Seconds total() const { return compute() + tensor + context + expert + host; }
  PhaseCost& operator+=(const PhaseCost& other);
  friend PhaseCost operator*(const PhaseCost& phase, double k);
};

/// Forward and backward of one microbatch; what is computed again counts as backward.
struct PassCost {
  PhaseCost forward;
  PhaseCost backward;
};

/// One transformer layer on the busiest rank.
[[nodiscard]] PassCost layer_cost(const ModelSpec& model,
                                  const StepQuery& query,
                                  const RankShare& share,
                                  const HardwareParameters& on);

/// Embedding, on the first stage.
[[nodiscard]] PassCost embedding_cost(const ModelSpec& model,
                                      const StepQuery& query,
                                      const HardwareParameters& on);

/// Output layer and loss, on the last stage.
[[nodiscard]] PassCost head_cost(const ModelSpec& model,
                                 const StepQuery& query,
                                 const RankShare& share,
                                 const HardwareParameters& on);

/// Tokens of one microbatch that a rank computes on.
[[nodiscard]] inline double local_tokens(const ModelSpec& model, const StepQuery& query) {
  return static_cast<double>(model.seq_length * query.micro_batch_size) /
         static_cast<double>(query.cp);
}

}  // namespace runflat::sim

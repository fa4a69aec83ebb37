#pragma once

#include "core/model.hpp"
#include "sim/hardware.hpp"
#include "sim/layer_cost.hpp"
#include "sim/memory_cost.hpp"
#include "sim/step_query.hpp"

namespace runflat::sim {

/// Communication over the data-parallel ranks at the end of a step, per stage, before any of it is
/// hidden.
struct SyncCost {
  Seconds reshard_in{};   ///< gradients from the compute to the sync map (NTP)
  Seconds reduce{};       ///< reduce-scatter, or all-reduce without ZeRO
  Seconds gather{};       ///< parameters, with ZeRO
  Seconds reshard_out{};  ///< back to the compute map

  [[nodiscard]] Seconds total() const { return reshard_in + reduce + gather + reshard_out; }
  [[nodiscard]] Seconds reshard() const { return reshard_in + reshard_out; }
  friend SyncCost operator*(const SyncCost& sync, double k) {
    return {sync.reshard_in * k, sync.reduce * k, sync.gather * k, sync.reshard_out * k};
  }
};

/// The durations that a step is made of: the closed form adds them up, the step simulator plays
/// them. All for the busiest tensor-parallel rank of a stage.
struct StepTerms {
  PassCost layer;       ///< on average over the stage's layers, where some are computed again
  PassCost embedding;   ///< on the first stage, first chunk
  PassCost head;        ///< on the last stage, last chunk
  Seconds send{};       ///< exposed part of moving one microbatch to a neighbour stage, one way
  Seconds full_send{};  ///< all of it
  SyncCost sync;
  double reduce_exposed = 1.0;  ///< least share of the gradients' way that stays visible
  double gather_exposed = 1.0;  ///< of the parameters' way back
  double beside = 0.0;          ///< share of the rest by which it slows compute
  Seconds optimizer{};          ///< with the constant per step
  Seconds zero3_gather{};       ///< exposed, per microbatch and stage
  double straggler = 0.0;       ///< share that waiting for the slowest node adds to the pipeline
  RankShare share;

  /// What stays visible of `sync`: the rest hides behind one microbatch of the busiest stage, which
  /// it slows.
  [[nodiscard]] SyncCost visible_sync() const;
};

/// `query` must have passed check_query.
[[nodiscard]] StepTerms step_terms(const ModelSpec& model,
                                   const StepQuery& query,
                                   const HardwareParameters& on);

}  // namespace runflat::sim

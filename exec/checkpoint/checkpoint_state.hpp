#pragma once

#include "exec/checkpoint/checkpoint_part.hpp"
#include "exec/checkpoint/checkpoint_reader.hpp"
#include "exec/device/device.hpp"
#include "exec/training/stage_state.hpp"

#include <cstddef>
#include <memory>
#include <span>
#include <vector>

namespace runflat::exec {

/// What one rank brings to a checkpoint, in host memory. Over all ranks every element is there
/// once: of replicas that hold the same, each brings a part.
struct StateCopy {
  std::vector<PartRange> ranges;
  /// For each range its values, then, with moments, exp_avg and exp_avg_sq, of the state's type.
  std::vector<std::byte> bytes;
};
[[nodiscard]] StateCopy copy_state(Device& device, std::span<StageState* const> stages);

/// Fills the weights that a rank computes with and synchronises, and its slices of the optimizer
/// state, copies for peers included, whatever layout and type the checkpoint was written in.
void load_state(Device& device, CheckpointReader& reader, StageState& stage);

/// ParseError with the first difference where the checkpoint is of a model other than the one to be
/// trained. A RoPE model may be trained with other sequence lengths.
void check_same_model(const CheckpointReader& reader,
                      const ModelSpec& model,
                      double rotary_base,
                      double norm_epsilon);

}  // namespace runflat::exec

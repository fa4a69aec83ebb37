#pragma once

#include "exec/communication/communicator.hpp"
#include "exec/device/device.hpp"
#include "exec/training/commit.hpp"
#include "exec/training/stage_state.hpp"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace runflat::exec {

/// AdamW and gradient clipping, with Megatron's names and defaults.
struct OptimizerConfig {
  double adam_beta1 = 0.9;
  double adam_beta2 = 0.999;
  double adam_eps = 1e-8;
  double weight_decay = 0.01;  ///< of weights; norms and biases do not decay
  double clip_grad = 1.0;      ///< largest norm of the gradient; 0: any
};

/// Sums over the whole job.
struct StepSums {
  double loss = 0.0;  ///< mean over tokens
  double tokens = 0.0;
  double grad_norm = 0.0;  ///< of the mean loss, before clipping
};

/// Updates what this rank owns of all its virtual stages. Gradients are those of the sum of losses
/// over tokens; they are divided by the number of tokens of the whole job, so that every token
/// weighs the same whichever replica computed it.
class Optimizer {
 public:
  /// `world` is nullptr in a job of one rank; `timeout` is that of its operations.
  Optimizer(Device& device,
            std::vector<StageState*> stages,
            const OptimizerConfig& config,
            Communicator* world,
            std::chrono::milliseconds timeout);

  /// What this rank adds to the sums; each microbatch counts on one rank.
  struct Part {
    double loss = 0.0;
    double tokens = 0.0;
    StepWishes wishes{};
  };
  struct Sums {
    StepDecision decision;  ///< its step is the caller's to say
    StepWishes wishes;      ///< of any rank
  };
  /// The decision (commit.hpp): nothing where the sum did not come about. Every element of the
  /// gradient counts on one rank, and the sums are the same on all to the bit.
  [[nodiscard]] std::optional<Sums> sum_up(const Part& part);
  /// Makes ready for the updates of this decision.
  [[nodiscard]] StepSums prepare(const StepDecision& decision);
  /// After prepare(): update number `step`, from 1, of one bucket of a virtual stage.
  void update(std::size_t stage, std::size_t bucket, double lr, std::int64_t step);

 private:
  void add_squares(StageState& stage);
  void append_tensors(StageState& stage,
                      const Bucket& bucket,
                      const OptimizerSlice& slice,
                      void* grads,
                      bool is_copy,
                      std::vector<kernels::AdamwTensor>& out) const;

  Device& device_;
  std::vector<StageState*> stages_;
  OptimizerConfig config_;
  Communicator* world_;
  std::chrono::milliseconds timeout_;
  Buffer numbers_;  ///< fp64: squared sum, tokens, loss, wishes, norm, scale
};

}  // namespace runflat::exec

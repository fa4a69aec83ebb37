#pragma once

#include "exec/communicator.hpp"
#include "exec/device.hpp"
#include "exec/stage_state.hpp"

#include <cstdint>
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
  /// `world` is nullptr in a job of one rank.
  Optimizer(Device& device,
            std::vector<StageState*> stages,
            const OptimizerConfig& config,
            Communicator* world);

  /// `loss` and `tokens`: this rank's part of the sums; each microbatch counts on one rank. Every
  /// element of the gradient counts on one rank too, and the sum is the same on all to the bit.
  [[nodiscard]] StepSums sum_up(double loss, double tokens);
  /// After sum_up(): the update number `step`, from 1.
  void update(double lr, std::int64_t step);

 private:
  void add_squares(StageState& stage);
  void append_tensors(StageState& stage,
                      const Bucket& bucket,
                      const OptimizerSlice& slice,
                      void* grads,
                      std::vector<kernels::AdamwTensor>& out) const;

  Device& device_;
  std::vector<StageState*> stages_;
  OptimizerConfig config_;
  Communicator* world_;
  Buffer numbers_;  ///< fp64: squared sum, tokens, loss, norm, scale
};

}  // namespace runflat::exec

#pragma once

#include "core/units.hpp"
#include "core/value.hpp"

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

namespace runflat::exec {

/// One step of a job as logs tell it.
struct StepRecord {
  std::int64_t step = 0;  ///< from 1
  std::int64_t consumed_samples = 0;
  std::int64_t global_batch_size = 0;
  double loss = 0.0;  ///< mean over tokens
  double grad_norm = 0.0;
  double tokens = 0.0;                 ///< whose loss counted
  double lr = 0.0;                     ///< after the step, as Megatron logs it: the next step's
  std::optional<Seconds> step_time{};  ///< none: a transition completed the step
  std::int64_t num_ranks = 1;
  double flops = 0.0;                ///< model FLOPs of one rank (ModelSpec::flops_per_sequence)
  std::optional<double> peak_flops;  ///< FLOP/s of one device

  [[nodiscard]] std::optional<double> flops_rate() const {
    return step_time ? std::optional(flops / step_time->count()) : std::nullopt;
  }
  [[nodiscard]] std::optional<double> mfu() const {
    return peak_flops && step_time ? std::optional(*flops_rate() / *peak_flops) : std::nullopt;
  }
};

/// A line of the JSON log: step, loss, grad_norm, tokens, lr, step_time_ms, tflops_per_gpu, mfu
/// (null where the device has no known peak, or the step no time).
[[nodiscard]] Value to_value(const StepRecord& record);

/// The steps since the last line of the console.
class LogInterval {
 public:
  void add(const StepRecord& record);
  [[nodiscard]] std::int64_t num_steps() const { return num_steps_; }

  /// Megatron's line (training_log): loss and times are means over the interval, which ends; the
  /// rest is the last step's. Local time.
  [[nodiscard]] std::string take_line(std::chrono::system_clock::time_point now,
                                      std::int64_t train_iters,
                                      bool with_throughput);

 private:
  StepRecord last_;
  std::int64_t num_steps_ = 0;
  std::int64_t num_timed_ = 0;
  double loss_sum_ = 0.0;
  double flops_sum_ = 0.0;
  Seconds time_sum_{};
};

/// Megatron's three lines for a validation, the last one without its end: `where` as in
/// "iteration 10". PPL is exp(min(20, loss)).
[[nodiscard]] std::string validation_lines(const std::string& where, double loss);

}  // namespace runflat::exec

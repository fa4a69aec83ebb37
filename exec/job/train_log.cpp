#include "exec/job/train_log.hpp"

#include <algorithm>
#include <cmath>
#include <ctime>
#include <fmt/chrono.h>
#include <fmt/format.h>

namespace runflat::exec {
namespace {

/// `2026-11-22 10:00:00.123456`, as Python prints a datetime.
std::string time_stamp(std::chrono::system_clock::time_point now) {
  const auto since = std::chrono::floor<std::chrono::microseconds>(now.time_since_epoch());
  const std::time_t seconds = std::chrono::floor<std::chrono::seconds>(since).count();
  std::tm local{};
  localtime_r(&seconds, &local);
  return fmt::format("{:%Y-%m-%d %H:%M:%S}.{:06}", local, since.count() % 1'000'000);
}

}  // namespace

Value to_value(const StepRecord& record) {
  const auto known = [](std::optional<double> number, double scale) {
    return number ? Value(*number * scale) : Value();
  };
  const std::optional<double> seconds =
      record.step_time ? std::optional(record.step_time->count()) : std::nullopt;
  return Value::Object{{"step", record.step},
                       {"loss", record.loss},
                       {"grad_norm", record.grad_norm},
                       {"tokens", static_cast<std::int64_t>(std::llround(record.tokens))},
                       {"lr", record.lr},
                       {"step_time_ms", known(seconds, 1e3)},
                       {"tflops_per_gpu", known(record.flops_rate(), 1e-12)},
                       {"mfu", known(record.mfu(), 1.0)}};
}

void LogInterval::add(const StepRecord& record) {
  last_ = record;
  ++num_steps_;
  loss_sum_ += record.loss;
  if (record.step_time) {
    ++num_timed_;
    flops_sum_ += record.flops;
    time_sum_ += *record.step_time;
  }
}

std::string LogInterval::take_line(std::chrono::system_clock::time_point now,
                                   std::int64_t train_iters,
                                   bool with_throughput) {
  const auto num = static_cast<double>(num_steps_);
  std::string line =
      fmt::format(" [{}] iteration {:8}/{:8} |", time_stamp(now), last_.step, train_iters);
  line += fmt::format(" consumed samples: {:12} |", last_.consumed_samples);
  line += fmt::format(
      " elapsed time per iteration (ms): {:.1f} |",
      time_sum_.count() * 1e3 / static_cast<double>(std::max<std::int64_t>(num_timed_, 1)));
  if (with_throughput) {
    line += fmt::format(" throughput per GPU (TFLOP/s/GPU): {:.1f} |",
                        num_timed_ > 0 ? flops_sum_ / time_sum_.count() / 1e12 : 0.0);
  }
  line += fmt::format(" learning rate: {:.6E} |", last_.lr);
  line += fmt::format(" global batch size: {:5} |", last_.global_batch_size);
  line += fmt::format(" lm loss: {:.6E} |", loss_sum_ / num);
  line += " loss scale: 1.0 |";
  line += fmt::format(" grad norm: {:.3f} |", last_.grad_norm);
  // Such a step ends the job.
  line += " number of skipped iterations:   0 | number of nan iterations:   0 |";
  *this = LogInterval();
  return line;
}

std::string validation_lines(const std::string& where, double loss) {
  const std::string line =
      fmt::format(" validation loss at {} | lm loss value: {:.6E} | lm loss PPL: {:.6E} | ",
                  where,
                  loss,
                  std::exp(std::min(20.0, loss)));
  const std::string frame(line.size() + 1, '-');
  return frame + '\n' + line + '\n' + frame;
}

}  // namespace runflat::exec

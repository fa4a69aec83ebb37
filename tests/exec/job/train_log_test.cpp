#include "exec/job/train_log.hpp"

#include "core/document.hpp"
#include "tests/catch.hpp"

#include <cmath>
#include <cstdlib>
#include <ctime>

using namespace runflat;
using namespace runflat::exec;

namespace {

StepRecord record(std::int64_t step, double loss) {
  return {.step = step,
          .consumed_samples = 12 * step,
          .global_batch_size = 12,
          .loss = loss,
          .grad_norm = 0.51249,
          .tokens = 192.0,
          .lr = 3e-4,
          .step_time = Seconds(0.25),
          .flops = 5e11,
          .peak_flops = std::nullopt};
}

}  // namespace

TEST_CASE("a line is Megatron's, with means over the interval", "[exec][log]") {
  ::setenv("TZ", "UTC", 1);
  ::tzset();
  const auto now = std::chrono::system_clock::time_point(std::chrono::seconds(1795341600)) +
                   std::chrono::microseconds(42);
  LogInterval interval;
  interval.add(record(1, 5.0));
  interval.add(record(2, 4.0));
  CHECK(interval.num_steps() == 2);
  CHECK(
      interval.take_line(now, 100, true) ==
      " [2026-11-22 10:00:00.000042] iteration        2/     100 | consumed samples:           24 "
      "| elapsed time per iteration (ms): 250.0 | throughput per GPU (TFLOP/s/GPU): 2.0 "
      "| learning rate: 3.000000E-04 | global batch size:    12 | lm loss: 4.500000E+00 "
      "| loss scale: 1.0 | grad norm: 0.512 | number of skipped iterations:   0 "
      "| number of nan iterations:   0 |");
  CHECK(interval.num_steps() == 0);
  interval.add(record(3, 3.0));
  const std::string line = interval.take_line(now, 100, false);
  CHECK(line.find("throughput") == std::string::npos);
  CHECK(line.find("lm loss: 3.000000E+00") != std::string::npos);
}

TEST_CASE("a validation is framed", "[exec][log]") {
  const std::string text =
      " validation loss at iteration 10 | lm loss value: 2.000000E+00 | "
      "lm loss PPL: 7.389056E+00 | ";
  const std::string frame(text.size() + 1, '-');
  CHECK(validation_lines("iteration 10", 2.0) == frame + "\n" + text + "\n" + frame);
  CHECK(validation_lines("x", 1e9).find("PPL: 4.851652E+08") != std::string::npos);  // e^20
}

TEST_CASE("a step is one JSON object", "[exec][log]") {
  CHECK(to_json_text(to_value(record(3, 4.5)), -1) ==
        "{\"step\":3,\"loss\":4.5,\"grad_norm\":0.51249,\"tokens\":192,\"lr\":0.0003,"
        "\"step_time_ms\":250.0,\"tflops_per_gpu\":2.0,\"mfu\":null}\n");
  StepRecord known = record(3, 4.5);
  known.peak_flops = 8e12;
  CHECK(*to_value(known).find("mfu")->get_if<double>() == 0.25);
}

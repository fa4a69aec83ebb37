#include "exec/communication/loopback_communicator.hpp"
#include "exec/device/host_device.hpp"
#include "tests/catch.hpp"
#include "tests/exec/training_run.hpp"

#include <atomic>
#include <cstdint>
#include <numeric>
#include <vector>

namespace runflat::exec {
namespace {

class CountingDevice : public HostDevice {
 public:
  explicit CountingDevice(std::atomic<std::int64_t>& count) : count_(count) {}

  [[nodiscard]] Buffer allocate(std::int64_t bytes) override {
    ++count_;
    return HostDevice::allocate(bytes);
  }

 private:
  std::atomic<std::int64_t>& count_;
};

std::int64_t num_allocations(const tests::LayoutCase& layout, std::int64_t num_steps) {
  std::atomic<std::int64_t> count = 0;
  const auto counted = [&](std::int64_t world_size, const tests::RankBody& body) {
    std::vector<std::int64_t> processes(static_cast<std::size_t>(world_size));
    std::iota(processes.begin(), processes.end(), 0);
    spawn(processes, [&](ThreadRank& self) {
      CountingDevice device(count);
      body(device, self.transport);
    });
  };
  static_cast<void>(tests::train(
      tests::plan_of(tests::tiny_llama(), layout), tests::config_of(layout), num_steps, counted));
  return count;
}

TEST_CASE("device memory is taken before the second step, and by none after it", "[trainer]") {
  const std::vector<tests::LayoutCase> layouts = {
      {.name = "one rank", .sizes = {}},
      {.name = "TP2 x PP2 x 2 virtual, SP",
       .sizes = {.tp = 2, .pp = 2, .vpp = 2},
       .sequence_parallel = true},
      {.name = "TP2 + TP1, ZeRO-1, redundancy",
       .sizes = {.tp = 2, .dp = 2},
       .inactive = {{.cell = {.dp = DpRank(1), .cp = CpRank(0), .pp = PpRank(0)}, .slots = {0}}},
       .shares = {8, 4},
       .zero_stage = 1,
       .redundancy = true,
       .recompute = Recompute::selective},
  };
  for (const tests::LayoutCase& layout : layouts) {
    CAPTURE(layout.name);
    CHECK(num_allocations(layout, 2) == num_allocations(layout, 6));
  }
}

}  // namespace
}  // namespace runflat::exec

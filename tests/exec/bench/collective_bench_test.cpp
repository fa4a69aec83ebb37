#include "exec/bench/collective_bench.hpp"

#include "exec/communication/loopback_communicator.hpp"
#include "exec/device/host_device.hpp"
#include "tests/catch.hpp"

#include <array>
#include <mutex>
#include <vector>

using namespace runflat;
using namespace runflat::exec;

namespace {

constexpr std::array kKinds = {CollectiveKind::all_reduce,
                               CollectiveKind::reduce_scatter,
                               CollectiveKind::all_gather,
                               CollectiveKind::exchange};

/// Host memory into which the first element of every large copy arrives wrong.
class LyingDevice : public HostDevice {
 public:
  void copy_in(void* dst, const void* src, std::int64_t bytes) override {
    HostDevice::copy_in(dst, src, bytes);
    if (bytes > 64) {
      *static_cast<float*>(dst) += 1.0F;
    }
  }
};

/// What every rank measures; rank 0's memory may lie.
std::vector<CollectiveTime> measure(CollectiveKind kind, std::int64_t num_ranks, bool lies) {
  std::vector<CollectiveTime> times;
  std::mutex mutex;
  spawn(num_ranks, [&](ThreadRank& self) {
    HostDevice honest;
    LyingDevice lying;
    Device& device = lies && self.world.rank() == 0 ? lying : static_cast<Device&>(honest);
    const CollectiveTime time = time_collective(device, self.world, kind, 6000);
    const std::lock_guard lock(mutex);
    times.push_back(time);
  });
  return times;
}

}  // namespace

TEST_CASE("bus_factor: what must cross a rank's link, as nccl-tests' PERFORMANCE.md derives it") {
  CHECK(bus_factor(CollectiveKind::all_reduce, 8) == 2.0 * 7.0 / 8.0);
  CHECK(bus_factor(CollectiveKind::reduce_scatter, 4) == 0.75);
  CHECK(bus_factor(CollectiveKind::all_gather, 4) == 0.75);
  CHECK(bus_factor(CollectiveKind::exchange, 4) == 1.0);
}

TEST_CASE("time_collective: all ranks agree on a time, and nothing is wrong") {
  for (const CollectiveKind kind : kKinds) {
    CAPTURE(to_string(kind));
    const std::vector<CollectiveTime> times = measure(kind, 3, false);
    REQUIRE(times.size() == 3);
    for (const CollectiveTime& time : times) {
      CHECK(time.bytes == 6000);
      CHECK(time.count == (kind == CollectiveKind::all_gather ? 500 : 1500));
      CHECK(time.wrong == 0);
      CHECK(time.time.count() > 0.0);
      CHECK(time.time == times.front().time);
    }
  }
}

TEST_CASE("time_collective: one element that a rank brings wrong is wrong wherever it goes") {
  const std::array<std::int64_t, 4> receivers = {3, 1, 3, 1};
  for (std::size_t i = 0; i < kKinds.size(); ++i) {
    CAPTURE(to_string(kKinds.at(i)));
    for (const CollectiveTime& time : measure(kKinds.at(i), 3, true)) {
      CHECK(time.wrong == receivers.at(i));
    }
  }
}

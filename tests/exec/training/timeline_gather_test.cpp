#include "exec/training/timeline_gather.hpp"

#include "exec/communication/loopback_communicator.hpp"
#include "exec/device/host_device.hpp"
#include "tests/catch.hpp"

#include <mutex>

using namespace runflat;
using namespace runflat::exec;

namespace {

/// As many spans as the rank's number, with every field in use.
Timeline timeline_of(std::int64_t rank) {
  Timeline timeline;
  for (std::int64_t i = 0; i < rank; ++i) {
    timeline.add({.rank = Rank(rank),
                  .stream = Stream::dp,
                  .name = std::string(static_cast<std::size_t>(i), 'x'),
                  .begin = Seconds(0.5 * static_cast<double>(i)),
                  .end = Seconds(static_cast<double>(i + rank)),
                  .microbatch = static_cast<std::int32_t>(i),
                  .vp_stage = 1,
                  .bucket = 2,
                  .bytes = {3.0}});
  }
  return timeline;
}

}  // namespace

TEST_CASE("the spans of all ranks come to all ranks", "[exec][timeline]") {
  constexpr std::int64_t kRanks = 4;
  Timeline expected;
  for (std::int64_t rank = 0; rank < kRanks; ++rank) {
    const Timeline own = timeline_of(rank);
    for (const Span& span : own.spans()) {
      expected.add(span);
    }
  }
  std::mutex mutex;
  spawn(kRanks, [&](ThreadRank& thread) {
    HostDevice device;
    const Timeline all =
        gather_timeline(device, &thread.world, timeline_of(thread.transport.process()));
    const std::lock_guard lock(mutex);
    CHECK(all == expected);
  });
  HostDevice device;
  CHECK(gather_timeline(device, nullptr, timeline_of(2)) == timeline_of(2));
}

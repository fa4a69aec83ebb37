#include "exec/device/make_device.hpp"
#include "exec/device/xid_watch.hpp"
#include "tests/catch.hpp"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>

using namespace runflat;
using namespace runflat::exec;
using namespace std::chrono_literals;

namespace {

/// Runs the first of these tests in a process of its own.
void read_nowhere() {
  const std::string self = std::filesystem::read_symlink("/proc/self/exe").string();
  static_cast<void>(std::system(("'" + self + "' '[.page-fault]' > /dev/null 2>&1").c_str()));
}

}  // namespace

// After it, nothing else works on the GPU in its process.
TEST_CASE("a kernel that reads where nothing is", "[.page-fault]") {
  const auto device = make_cuda_device(0, false);
  const Buffer out = device->allocate(1 << 20);
  void* nowhere = out.at(std::int64_t{1} << 44);
  device->add({.a = nowhere, .b = nowhere, .y = out.data(), .num = 1 << 18});
  CHECK_THROWS(device->synchronize());
}

TEST_CASE("a page fault of a GPU is heard", "[exec][xid]") {
  XidWatch watch({0});
  std::vector<XidEvent> events;
  const auto deadline = std::chrono::steady_clock::now() + 30s;
  while (events.empty() && std::chrono::steady_clock::now() < deadline) {
    read_nowhere();
    std::this_thread::sleep_for(500ms);
    events = watch.take();
  }
  CHECK(std::count(events.begin(), events.end(), XidEvent{.gpu = 0, .xid = 31}) > 0);
}

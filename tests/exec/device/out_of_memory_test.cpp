#include "exec/device/out_of_memory.hpp"

#include "exec/communication/loopback_communicator.hpp"
#include "exec/device/host_device.hpp"
#include "exec/training/trainer.hpp"
#include "tests/catch.hpp"
#include "tests/exec/training_run.hpp"

#include <map>
#include <set>
#include <string>

using namespace runflat;
using namespace runflat::exec;

namespace {

/// Host memory of which there is little.
class SmallDevice : public HostDevice {
 public:
  explicit SmallDevice(std::int64_t bytes) : left_(bytes) {}

  Buffer allocate(std::int64_t bytes) override {
    if (bytes > left_) {
      throw OutOfMemory(fmt::format("{} bytes are free, and {} more are needed", left_, bytes));
    }
    left_ -= bytes;
    return HostDevice::allocate(bytes);
  }
  [[nodiscard]] std::int64_t left() const { return left_; }

 private:
  std::int64_t left_;
};

/// What a trainer of one rank says on such a device; empty where it fits. `left`: of its memory.
std::string complaint(std::int64_t bytes, std::int64_t& left) {
  std::string text;
  const tests::LayoutCase one{.name = "one", .sizes = {}};
  spawn(1, [&](ThreadRank& thread) {
    SmallDevice device(bytes);
    try {
      const Trainer trainer(device,
                            thread.transport,
                            tests::plan_of(tests::tiny_llama(), one),
                            tests::config_of(one));
      left = device.left();
    } catch (const InfeasibleError& error) {
      text = error.what();
    }
  });
  return text;
}

}  // namespace

TEST_CASE("where memory ends, the trainer says for what, how much is there and what needs less",
          "[exec][memory]") {
  constexpr std::int64_t kMuch = std::int64_t{1} << 30;
  std::int64_t left = 0;
  REQUIRE(complaint(kMuch, left).empty());
  const std::int64_t needed = kMuch - left;
  CHECK(complaint(needed, left).empty());

  const std::map<std::string, std::string> remedies = {
      {"buffers of a layer", "a smaller micro_batch_size"},
      {"buffers of a virtual stage", "a smaller micro_batch_size"},
      {"weights, gradients and optimizer states", "zero_stage = 1"},
      {"activations of 1 microbatches under way", "recompute = \"full\""},
      {"tokens of all microbatches", "a smaller micro_batch_size"},
  };
  std::set<std::string> found;
  for (std::int64_t part = 0; part < 40; ++part) {
    const std::string text = complaint(needed * part / 40, left);
    CAPTURE(text);
    const std::string what = text.substr(0, text.find(" do not fit: "));
    REQUIRE(remedies.count(what) == 1);
    CHECK(text.find(" bytes are free, and ") != text.npos);
    CHECK(text.find(remedies.at(what)) != text.npos);
    found.insert(what);
  }
  CHECK(found.count("weights, gradients and optimizer states") == 1);
  CHECK(found.count("activations of 1 microbatches under way") == 1);
}

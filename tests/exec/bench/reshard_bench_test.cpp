#include "exec/bench/reshard_bench.hpp"

#include "exec/communication/loopback_communicator.hpp"
#include "exec/device/host_device.hpp"
#include "tests/catch.hpp"
#include "tests/exec/training_run.hpp"

#include <vector>

using namespace runflat;
using namespace runflat::exec;

namespace {

/// A tiny Llama. With one kv-group that all ranks hold, its gradients are summed.
ModelSpec model(std::int64_t num_query_groups = 6) {
  ModelSpec model = tests::tiny_llama();
  model.num_layers = 2;
  model.hidden_size = 48;
  model.ffn_hidden_size = 60;
  model.num_attention_heads = 6;
  model.num_query_groups = num_query_groups;
  model.kv_channels = 8;
  model.padded_vocab_size = 96;
  return model;
}

/// What rank 0 measures.
std::vector<ReshardTime> measure(const ModelSpec& model,
                                 std::int64_t tp_size,
                                 std::int64_t num_buckets) {
  std::vector<ReshardTime> times;
  spawn(tp_size, [&](ThreadRank& self) {
    HostDevice device;
    const auto own = time_reshard(device, self.world, model, num_buckets);
    if (self.world.rank() == 0) {
      times = own;
    }
  });
  return times;
}

}  // namespace

TEST_CASE("time_reshard: every bucket there and back, all of the model, and nothing is wrong") {
  const std::int64_t tp_size = GENERATE(2, 3, 4);
  const std::int64_t num_query_groups = GENERATE(1, 6);
  CAPTURE(tp_size, num_query_groups);
  const ModelSpec model = ::model(num_query_groups);
  const std::vector<ReshardTime> times = measure(model, tp_size, 3);
  REQUIRE(times.size() == 6);
  std::int64_t elements = 0;
  for (const ReshardTime& time : times) {
    CHECK(time.wrong == 0);
    CHECK(time.time.count() > 0.0);
    CHECK(time.bytes > 0);
    elements += time.is_to_sync ? time.num : 0;
  }
  CHECK(elements == model.num_parameters());
}

TEST_CASE(
    "time_reshard: at TP 2 to 1, half of all that is divided moves, and back with the norms") {
  const std::int64_t norms = 5 * model().hidden_size;
  for (const ReshardTime& time : measure(model(), 2, 1)) {
    CHECK(time.bytes == ((time.num - norms) / 2 + norms) * (time.is_to_sync ? 4 : 2));
  }
}

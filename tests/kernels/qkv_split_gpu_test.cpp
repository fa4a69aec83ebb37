#include "kernels/qkv_split.hpp"
#include "tests/catch.hpp"
#include "tests/kernels/device_memory.hpp"

using namespace runflat;
using kernels::BFloat16;
using kernels::DataType;
using kernels::QkvSplitArgs;
using tests::DeviceValues;
using Values = std::vector<double>;

namespace {

template <typename T>
void check_split_and_merge(tests::Dice& dice, QkvSplitArgs args, std::int64_t shift, bool rope) {
  const std::int64_t group_rows = args.tokens * args.groups;
  const std::int64_t positions = (args.tokens + args.batch_size - 1) / args.batch_size;
  const auto random = [&](std::int64_t num) { return tests::random_values(dice, num); };
  const DeviceValues<T> qkv(random(group_rows * (args.heads_per_group + 2) * args.head_size),
                            shift);
  const DeviceValues<T> q(random(group_rows * args.num_heads * args.head_size), shift);
  const DeviceValues<T> k(random(group_rows * args.head_size), shift);
  const DeviceValues<T> v(random(group_rows * args.head_size), shift);
  const DeviceValues<float> cos(random(positions * args.head_size / 2), shift);
  const DeviceValues<float> sin(random(positions * args.head_size / 2), shift);
  QkvSplitArgs expected = args;
  args.type = tests::kTypeOf<T>;
  args.qkv = qkv.data();
  args.q = q.data();
  args.k = k.data();
  args.v = v.data();
  args.cos = rope ? cos.data() : nullptr;
  args.sin = rope ? sin.data() : nullptr;
  Values host_qkv = qkv.host;
  Values host_q = q.host;
  Values host_k = k.host;
  Values host_v = v.host;
  expected.type = DataType::fp64;
  expected.qkv = host_qkv.data();
  expected.q = host_q.data();
  expected.k = host_k.data();
  expected.v = host_v.data();
  expected.cos = rope ? cos.host.data() : nullptr;
  expected.sin = rope ? sin.host.data() : nullptr;
  const tests::DeviceStream stream;
  const auto same = [&](const DeviceValues<T>& got, const Values& wanted) {
    return tests::num_wrong(got.read(), wanted, tests::kRounding<T>, 1e-6) == 0 &&
           got.margins_intact();
  };
  kernels::qkv_split(args, stream.get());
  stream.finish();
  kernels::qkv_split_reference(expected);
  CHECK(same(q, host_q));
  CHECK(same(k, host_k));
  CHECK(same(v, host_v));
  // Merge what the device holds, which is rounded.
  const auto take = [](const DeviceValues<T>& from, Values& to) {
    const Values values = from.read();
    std::copy(values.begin(), values.end(), to.begin());
  };
  take(q, host_q);
  take(k, host_k);
  take(v, host_v);
  kernels::qkv_merge(args, stream.get());
  stream.finish();
  kernels::qkv_merge_reference(expected);
  CHECK(same(qkv, host_qkv));
}

}  // namespace

TEST_CASE("the device splits and merges qkv as fp64 does", "[kernels][qkv_split][gpu]") {
  tests::Dice dice(1);
  const std::vector<QkvSplitArgs> shapes = {
      {.tokens = 7,
       .batch_size = 2,
       .groups = 2,
       .heads_per_group = 4,
       .num_heads = 4,
       .head_size = 128},
      {.tokens = 9,
       .batch_size = 3,
       .groups = 1,
       .heads_per_group = 5,
       .first_head = 2,
       .num_heads = 3,
       .head_size = 64},
      {.tokens = 5, .groups = 3, .heads_per_group = 1, .num_heads = 1, .head_size = 6},
      {.tokens = 4, .groups = 8, .heads_per_group = 4, .num_heads = 4, .head_size = 72}};
  for (const QkvSplitArgs& shape : shapes) {
    for (const std::int64_t shift : {0, 1}) {
      for (const bool rope : {true, false}) {
        CAPTURE(shape.tokens, shape.head_size, shift, rope);
        check_split_and_merge<float>(dice, shape, shift, rope);
        check_split_and_merge<BFloat16>(dice, shape, shift, rope);
      }
    }
  }
}

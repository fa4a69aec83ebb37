#include "kernels/attention.hpp"
#include "tests/catch.hpp"
#include "tests/kernels/device_memory.hpp"

using namespace runflat;
using kernels::AttentionShape;
using kernels::BFloat16;
using kernels::DataType;
using tests::DeviceValues;
using Values = std::vector<double>;

namespace {

/// The root of the mean squared difference over that of the expected numbers.
double relative_error(const Values& got, const Values& expected) {
  double difference = 0.0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    difference += std::pow(got.at(i) - expected.at(i), 2);
  }
  return std::sqrt(difference / tests::dot(expected, expected));
}

template <typename T>
void check_attention(kernels::Attention& attention, tests::Dice& dice, AttentionShape shape) {
  shape.type = tests::kTypeOf<T>;
  shape.scale = 1.0 / std::sqrt(static_cast<double>(shape.head_size));
  shape.deterministic = true;
  const std::int64_t tokens = shape.seq_length * shape.batch_size * shape.head_size;
  const auto random = [&](std::int64_t heads) {
    return DeviceValues<T>(tests::random_values(dice, tokens * heads, 2.0), 0);
  };
  const auto q = random(shape.heads);
  const auto k = random(shape.groups);
  const auto v = random(shape.groups);
  const auto dout = random(shape.heads);
  const auto out = random(shape.heads);
  const auto dq = random(shape.heads);
  const auto dk = random(shape.groups);
  const auto dv = random(shape.groups);
  const DeviceValues<float> lse(
      Values(static_cast<std::size_t>(shape.batch_size * shape.heads * shape.seq_length)), 0);
  const tests::DeviceBytes workspace(attention.workspace(shape) + 1);
  const tests::DeviceStream stream;
  const auto run = [&] {
    attention.forward({.shape = shape,
                       .q = q.data(),
                       .k = k.data(),
                       .v = v.data(),
                       .out = out.data(),
                       .lse = lse.data()},
                      workspace.data(),
                      stream.get());
    attention.backward({.shape = shape,
                        .q = q.data(),
                        .k = k.data(),
                        .v = v.data(),
                        .out = out.data(),
                        .lse = lse.data(),
                        .dout = dout.data(),
                        .dq = dq.data(),
                        .dk = dk.data(),
                        .dv = dv.data()},
                       workspace.data(),
                       stream.get());
    stream.finish();
  };
  run();
  AttentionShape in_fp64 = shape;
  in_fp64.type = DataType::fp64;
  Values expected_out(q.host.size());
  Values expected_lse(lse.host.size());
  Values expected_dq(q.host.size());
  Values expected_dk(k.host.size());
  Values expected_dv(k.host.size());
  kernels::attention_forward_reference({.shape = in_fp64,
                                        .q = q.host.data(),
                                        .k = k.host.data(),
                                        .v = v.host.data(),
                                        .out = expected_out.data(),
                                        .lse = expected_lse.data()});
  kernels::attention_backward_reference({.shape = in_fp64,
                                         .q = q.host.data(),
                                         .k = k.host.data(),
                                         .v = v.host.data(),
                                         .out = expected_out.data(),
                                         .lse = expected_lse.data(),
                                         .dout = dout.host.data(),
                                         .dq = expected_dq.data(),
                                         .dk = expected_dk.data(),
                                         .dv = expected_dv.data()});
  // bf16 rounds probabilities as well as what comes out.
  const double allowed = sizeof(T) == 2 ? 1e-2 : 1e-5;
  CHECK(relative_error(out.read(), expected_out) < allowed);
  CHECK(tests::num_wrong(lse.read(), expected_lse, 1e-4, 1e-4) == 0);
  CHECK(relative_error(dq.read(), expected_dq) < allowed);
  CHECK(relative_error(dk.read(), expected_dk) < allowed);
  CHECK(relative_error(dv.read(), expected_dv) < allowed);
  for (const auto* tensor : {&out, &dq, &dk, &dv}) {
    CHECK(tensor->margins_intact());
  }
  const std::vector<Values> first = {out.read(), dq.read(), dk.read(), dv.read()};
  run();
  CHECK(std::vector<Values>{out.read(), dq.read(), dk.read(), dv.read()} == first);
}

}  // namespace

TEST_CASE("the device's attention and its gradients are those in fp64, the same bits every time",
          "[kernels][attention][gpu]") {
  tests::Dice dice(1);
  kernels::Attention attention;
  const std::vector<AttentionShape> shapes = {
      {.seq_length = 64, .batch_size = 2, .heads = 4, .groups = 4, .head_size = 64},
      {.seq_length = 200, .batch_size = 1, .heads = 8, .groups = 2, .head_size = 128},
      {.seq_length = 129, .batch_size = 3, .heads = 3, .groups = 1, .head_size = 64},
      {.seq_length = 33, .batch_size = 2, .heads = 2, .groups = 1, .head_size = 20}};
  for (const AttentionShape& shape : shapes) {
    CAPTURE(shape.seq_length, shape.heads, shape.groups, shape.head_size);
    check_attention<BFloat16>(attention, dice, shape);
    check_attention<float>(attention, dice, shape);
  }
}

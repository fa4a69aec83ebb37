#include "kernels/embedding.hpp"
#include "tests/catch.hpp"
#include "tests/kernels/device_memory.hpp"

using namespace runflat;
using kernels::BFloat16;
using kernels::DataType;
using tests::DeviceIds;
using tests::DeviceValues;
using Values = std::vector<double>;

namespace {

constexpr std::int64_t kVocabulary = 97;

/// Two in three ids are here, in random order.
std::vector<std::int32_t> local_rows(tests::Dice& dice) {
  std::vector<std::int32_t> ids(kVocabulary);
  for (std::size_t i = 0; i < ids.size(); ++i) {
    ids.at(i) = static_cast<std::int32_t>(i);
  }
  dice.shuffle(ids);
  std::vector<std::int32_t> out(kVocabulary, -1);
  for (std::int32_t row = 0; row < kVocabulary * 2 / 3; ++row) {
    out.at(static_cast<std::size_t>(ids.at(static_cast<std::size_t>(row)))) = row;
  }
  return out;
}

/// Half of the tokens are one id.
std::vector<std::int32_t> random_ids(tests::Dice& dice, std::int64_t tokens) {
  std::vector<std::int32_t> out;
  for (std::int64_t token = 0; token < tokens; ++token) {
    out.push_back(dice.one_in(2) ? 11
                                 : static_cast<std::int32_t>(dice.between(0, kVocabulary - 1)));
  }
  return out;
}

template <typename T>
void check_lookup(tests::Dice& dice, std::int64_t tokens, std::int64_t cols, std::int64_t shift) {
  const std::int64_t local = kVocabulary * 2 / 3;
  const DeviceIds ids(random_ids(dice, tokens));
  const DeviceIds rows(local_rows(dice));
  const DeviceValues<T> table(tests::random_values(dice, local * cols), shift);
  const DeviceValues<T> y(Values(static_cast<std::size_t>(tokens * cols), NAN), shift);
  const tests::DeviceStream stream;
  kernels::embedding_forward({.ids = ids.data(),
                              .local_row = rows.data(),
                              .table = table.data(),
                              .y = y.data(),
                              .tokens = tokens,
                              .cols = cols,
                              .type = tests::kTypeOf<T>},
                             stream.get());
  stream.finish();
  Values expected(y.host.size());
  kernels::embedding_forward_reference({.ids = ids.host.data(),
                                        .local_row = rows.host.data(),
                                        .table = table.host.data(),
                                        .y = expected.data(),
                                        .tokens = tokens,
                                        .cols = cols,
                                        .type = DataType::fp64});
  CHECK(y.read() == expected);
  CHECK(y.margins_intact());

  const DeviceValues<T> dy(tests::random_values(dice, tokens * cols), shift);
  const Values start = tests::random_values(dice, local * cols);
  DeviceValues<float> dtable(start, shift);
  const tests::DeviceBytes workspace(kernels::embedding_backward_workspace(tokens, local));
  const auto run = [&] {
    kernels::embedding_backward({.ids = ids.data(),
                                 .local_row = rows.data(),
                                 .dy = dy.data(),
                                 .dtable = dtable.data(),
                                 .workspace = workspace.data(),
                                 .tokens = tokens,
                                 .cols = cols,
                                 .local_rows = local,
                                 .type = tests::kTypeOf<T>},
                                stream.get());
    stream.finish();
  };
  run();
  Values expected_dtable = dtable.host;
  kernels::embedding_backward_reference({.ids = ids.host.data(),
                                         .local_row = rows.host.data(),
                                         .dy = dy.host.data(),
                                         .dtable = expected_dtable.data(),
                                         .tokens = tokens,
                                         .cols = cols,
                                         .local_rows = local,
                                         .type = DataType::fp64});
  const std::vector<float> first = dtable.read_raw();
  CHECK(tests::num_wrong(tests::converted<double>(first), expected_dtable, 1e-5, 1e-4) == 0);
  CHECK(dtable.margins_intact());
  dtable.write(start);
  run();
  CHECK(dtable.read_raw() == first);
}

template <typename T>
void check_positions(tests::Dice& dice,
                     std::int64_t tokens,
                     std::int64_t cols,
                     std::int64_t shift) {
  const std::int64_t batch_size = dice.between(1, 3);
  const std::int64_t first_position = dice.between(0, 5);
  const std::int64_t positions = first_position + (tokens + batch_size - 1) / batch_size;
  const DeviceValues<T> x(tests::random_values(dice, tokens * cols), shift);
  const DeviceValues<T> gradient(tests::random_values(dice, tokens * cols), shift);
  const DeviceValues<T> table(tests::random_values(dice, positions * cols), shift);
  const DeviceValues<float> dtable(tests::random_values(dice, positions * cols), shift);
  kernels::PositionsArgs args = {.x = x.data(),
                                 .table = table.data(),
                                 .dtable = dtable.data(),
                                 .tokens = tokens,
                                 .cols = cols,
                                 .batch_size = batch_size,
                                 .first_position = first_position,
                                 .type = tests::kTypeOf<T>};
  const tests::DeviceStream stream;
  kernels::positions_forward(args, stream.get());
  args.x = gradient.data();
  kernels::positions_backward(args, stream.get());
  stream.finish();
  Values expected = x.host;
  Values expected_gradient = gradient.host;
  Values expected_dtable = dtable.host;
  args.x = expected.data();
  args.table = table.host.data();
  args.dtable = expected_dtable.data();
  args.type = DataType::fp64;
  kernels::positions_forward_reference(args);
  args.x = expected_gradient.data();
  kernels::positions_backward_reference(args);
  CHECK(x.read() == tests::converted<double>(tests::converted<T>(expected)));
  CHECK(tests::num_wrong(dtable.read(), expected_dtable, 1e-6, 1e-6) == 0);
  CHECK(x.margins_intact());
  CHECK(dtable.margins_intact());
}

}  // namespace

TEST_CASE("the device's lookups and their gradients are those in fp64, the same bits every time",
          "[kernels][embedding][gpu]") {
  tests::Dice dice(1);
  for (const std::int64_t tokens : {1, 5, 300, 5000}) {
    for (const std::int64_t cols : {1, 24, 37, 256}) {
      for (const std::int64_t shift : {0, 3}) {
        CAPTURE(tokens, cols, shift);
        check_lookup<float>(dice, tokens, cols, shift);
        check_lookup<BFloat16>(dice, tokens, cols, shift);
      }
    }
  }
  check_lookup<BFloat16>(dice, 9, 5000, 0);
}

TEST_CASE("the device's positions and their gradients are those in fp64",
          "[kernels][embedding][gpu]") {
  tests::Dice dice(2);
  for (const std::int64_t tokens : {1, 5, 300}) {
    for (const std::int64_t cols : {1, 24, 37, 2560}) {
      for (const std::int64_t shift : {0, 3}) {
        CAPTURE(tokens, cols, shift);
        check_positions<float>(dice, tokens, cols, shift);
        check_positions<BFloat16>(dice, tokens, cols, shift);
      }
    }
  }
}

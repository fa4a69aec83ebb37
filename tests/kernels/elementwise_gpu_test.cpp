#include "kernels/elementwise.hpp"
#include "tests/catch.hpp"
#include "tests/kernels/device_memory.hpp"

using namespace runflat;
using kernels::BFloat16;
using kernels::DataType;
using tests::DeviceValues;
using Values = std::vector<double>;

namespace {

const std::vector<std::pair<std::int64_t, std::int64_t>> kSizes = {
    {1, 1}, {3, 5}, {700, 64}, {13, 1001}, {64, 1024}, {3, 14336}, {2000, 96}};

template <typename F>
void for_each_size(F check) {
  tests::Dice dice(1);
  for (const auto& [rows, cols] : kSizes) {
    for (const std::int64_t shift : {0, 1, 2}) {
      CAPTURE(rows, cols, shift);
      check(dice, rows, cols, shift);
    }
  }
}

template <typename T>
void check_sums(tests::Dice& dice, std::int64_t rows, std::int64_t cols, std::int64_t shift) {
  const DeviceValues<T> a(tests::random_values(dice, rows * cols), shift);
  const DeviceValues<T> b(tests::random_values(dice, rows * cols), shift);
  const DeviceValues<T> bias(tests::random_values(dice, cols), shift);
  const tests::DeviceStream stream;
  kernels::add(
      {.a = a.data(), .b = b.data(), .y = b.data(), .num = rows * cols, .type = tests::kTypeOf<T>},
      stream.get());
  kernels::add_bias(
      {.y = a.data(), .bias = bias.data(), .rows = rows, .cols = cols, .type = tests::kTypeOf<T>},
      stream.get());
  stream.finish();
  Values sum = b.host;
  kernels::add_reference({.a = a.host.data(),
                          .b = sum.data(),
                          .y = sum.data(),
                          .num = rows * cols,
                          .type = DataType::fp64});
  Values biased = a.host;
  kernels::add_bias_reference({.y = biased.data(),
                               .bias = bias.host.data(),
                               .rows = rows,
                               .cols = cols,
                               .type = DataType::fp64});
  // Exact in fp64, so that one rounding is all that may differ.
  CHECK(b.read() == tests::converted<double>(tests::converted<T>(sum)));
  CHECK(a.read() == tests::converted<double>(tests::converted<T>(biased)));
  CHECK(a.margins_intact());
  CHECK(b.margins_intact());
}

template <typename T>
void check_bias_grad(tests::Dice& dice, std::int64_t rows, std::int64_t cols, std::int64_t shift) {
  const DeviceValues<T> dy(tests::random_values(dice, rows * cols), shift);
  const Values start = tests::random_values(dice, cols);
  DeviceValues<float> dbias(start, shift);
  const tests::DeviceBytes workspace(kernels::bias_grad_workspace(rows, cols, tests::kTypeOf<T>));
  const tests::DeviceStream stream;
  const auto run = [&] {
    kernels::bias_grad({.dy = dy.data(),
                        .dbias = dbias.data(),
                        .workspace = workspace.data(),
                        .rows = rows,
                        .cols = cols,
                        .type = tests::kTypeOf<T>},
                       stream.get());
    stream.finish();
  };
  run();
  Values expected = dbias.host;
  kernels::bias_grad_reference({.dy = dy.host.data(),
                                .dbias = expected.data(),
                                .rows = rows,
                                .cols = cols,
                                .type = DataType::fp64});
  const std::vector<float> first = dbias.read_raw();
  CHECK(tests::num_wrong(tests::converted<double>(first), expected, 1e-5, 1e-4) == 0);
  CHECK(dbias.margins_intact());
  dbias.write(start);
  run();
  CHECK(dbias.read_raw() == first);
}

template <typename Src, typename Dst>
void check_cast(tests::Dice& dice, std::int64_t num, std::int64_t shift) {
  const DeviceValues<Src> src(tests::random_values(dice, num, 1e3), shift);
  const DeviceValues<Dst> dst(Values(src.host.size()), shift);
  const tests::DeviceStream stream;
  kernels::cast({.src = src.data(),
                 .dst = dst.data(),
                 .num = num,
                 .src_type = tests::kTypeOf<Src>,
                 .dst_type = tests::kTypeOf<Dst>},
                stream.get());
  stream.finish();
  CHECK(dst.read() == tests::converted<double>(tests::converted<Dst>(src.host)));
  CHECK(dst.margins_intact());
}

}  // namespace

TEST_CASE("the device's sums are rounded once", "[kernels][elementwise][gpu]") {
  for_each_size([](auto&&... args) {
    check_sums<float>(args...);
    check_sums<BFloat16>(args...);
  });
}

TEST_CASE("the device's bias gradients are those in fp64, the same bits every time",
          "[kernels][elementwise][gpu]") {
  for_each_size([](auto&&... args) {
    check_bias_grad<float>(args...);
    check_bias_grad<BFloat16>(args...);
  });
}

TEST_CASE("the device's casts round to nearest even", "[kernels][elementwise][gpu]") {
  for_each_size([](tests::Dice& dice, std::int64_t rows, std::int64_t cols, std::int64_t shift) {
    check_cast<float, BFloat16>(dice, rows * cols, shift);
    check_cast<BFloat16, float>(dice, rows * cols, shift);
    check_cast<float, float>(dice, rows * cols, shift);
  });
}

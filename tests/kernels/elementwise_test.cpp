#include "kernels/elementwise.hpp"

#include "tests/catch.hpp"
#include "tests/kernels/host_values.hpp"

using namespace runflat;
using kernels::BFloat16;
using kernels::DataType;
using Values = std::vector<double>;

TEST_CASE("sums may be written over either summand", "[kernels][elementwise]") {
  Values a = {1.0, 2.0, 3.0};
  Values b = {10.0, 20.0, 30.0};
  const auto add = [](const Values& x, const Values& y, Values& sum) {
    kernels::add_reference(
        {.a = x.data(), .b = y.data(), .y = sum.data(), .num = 3, .type = DataType::fp64});
  };
  add(a, b, a);
  CHECK(a == Values{11.0, 22.0, 33.0});
  add(a, b, b);
  CHECK(b == Values{21.0, 42.0, 63.0});
}

TEST_CASE("a bias is added to every row, and its gradient is the sum of rows",
          "[kernels][elementwise]") {
  Values y = {1.0, 2.0, 3.0, 4.0, 5.0, 6.0};
  const Values bias = {10.0, 20.0, 30.0};
  kernels::add_bias_reference(
      {.y = y.data(), .bias = bias.data(), .rows = 2, .cols = 3, .type = DataType::fp64});
  CHECK(y == Values{11.0, 22.0, 33.0, 14.0, 25.0, 36.0});
  Values dbias = {100.0, 0.0, 0.0};
  kernels::bias_grad_reference(
      {.dy = y.data(), .dbias = dbias.data(), .rows = 2, .cols = 3, .type = DataType::fp64});
  CHECK(dbias == Values{125.0, 47.0, 69.0});
}

namespace {

double cast_to_bf16(double value) {
  BFloat16 out;
  kernels::cast_reference({.src = &value,
                           .dst = &out,
                           .num = 1,
                           .src_type = DataType::fp64,
                           .dst_type = DataType::bf16});
  return static_cast<double>(out);
}

}  // namespace

TEST_CASE("casts round once, to nearest even", "[kernels][elementwise]") {
  const double ulp = 0x1p-7;  // of bf16 between 1 and 2
  CHECK(cast_to_bf16(1.0 + 0.5 * ulp) == 1.0);
  CHECK(cast_to_bf16(1.0 + 1.5 * ulp) == 1.0 + 2.0 * ulp);
  // Just off a tie, by less than a float can tell.
  CHECK(cast_to_bf16(1.0 + 0.5 * ulp + 0x1p-40) == 1.0 + ulp);
  CHECK(cast_to_bf16(1.0 + 1.5 * ulp - 0x1p-40) == 1.0 + ulp);
  CHECK(cast_to_bf16(-1.0 - 0.5 * ulp - 0x1p-40) == -1.0 - ulp);
  CHECK(std::isinf(cast_to_bf16(1e300)));
  CHECK(std::isnan(cast_to_bf16(NAN)));
}

TEST_CASE("bf16 goes through every wider type unchanged", "[kernels][elementwise]") {
  tests::Dice dice(1);
  const auto values = tests::converted<BFloat16>(tests::random_values(dice, 1000, 1e3));
  for (const DataType type : {DataType::fp32, DataType::fp64}) {
    std::vector<double> wide(values.size());  // large enough for either
    std::vector<BFloat16> back(values.size());
    const auto num = static_cast<std::int64_t>(values.size());
    kernels::cast_reference({.src = values.data(),
                             .dst = wide.data(),
                             .num = num,
                             .src_type = DataType::bf16,
                             .dst_type = type});
    kernels::cast_reference({.src = wide.data(),
                             .dst = back.data(),
                             .num = num,
                             .src_type = type,
                             .dst_type = DataType::bf16});
    CHECK(tests::converted<double>(back) == tests::converted<double>(values));
  }
}

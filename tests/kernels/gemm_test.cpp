#include "kernels/gemm.hpp"

#include "tests/catch.hpp"
#include "tests/kernels/host_values.hpp"

#include <stdexcept>

using namespace runflat;
using kernels::DataType;
using Values = std::vector<double>;

namespace {

/// The sum over k of op(a)[i, k] op(b)[k, j], plus beta c.
Values triple_loop(const kernels::GemmArgs& args,
                   const Values& a,
                   const Values& b,
                   const Values& c) {
  Values out;
  for (std::int64_t i = 0; i < args.m; ++i) {
    for (std::int64_t j = 0; j < args.n; ++j) {
      double sum = 0.0;
      for (std::int64_t k = 0; k < args.k; ++k) {
        sum += a.at(static_cast<std::size_t>(args.transpose_a ? k * args.m + i : i * args.k + k)) *
               b.at(static_cast<std::size_t>(args.transpose_b ? j * args.k + k : k * args.n + j));
      }
      const double kept = args.beta == 0.0 ? 0.0 : args.beta * c.at(out.size());
      out.push_back(sum + kept);
    }
  }
  return out;
}

/// The largest difference from the triple loop over the stored (rounded) inputs.
template <typename T, typename C>
double worst_difference(DataType type, DataType c_type, double beta) {
  tests::Dice dice(1);
  double worst = 0.0;
  for (int round = 0; round < 8; ++round) {
    kernels::GemmArgs args = {.m = dice.between(1, 20),
                              .n = dice.between(1, 20),
                              .k = dice.between(1, 20),
                              .transpose_a = (round & 1) != 0,
                              .transpose_b = (round & 2) != 0,
                              .beta = beta,
                              .type = type,
                              .c_type = c_type};
    const auto a = tests::converted<T>(tests::random_values(dice, args.m * args.k));
    const auto b = tests::converted<T>(tests::random_values(dice, args.k * args.n));
    auto c = tests::converted<C>(tests::random_values(dice, args.m * args.n));
    if (beta == 0.0) {
      c.assign(c.size(), static_cast<C>(NAN));  // must not be read
    }
    const Values expected = triple_loop(args,
                                        tests::converted<double>(a),
                                        tests::converted<double>(b),
                                        tests::converted<double>(c));
    args.a = a.data();
    args.b = b.data();
    args.c = c.data();
    kernels::gemm_reference(args);
    const double difference = tests::max_difference(tests::converted<double>(c), expected);
    worst = std::isnan(difference) ? difference : std::max(worst, difference);
  }
  return worst;
}

}  // namespace

TEST_CASE("products of every transposition and type are those of a triple loop",
          "[kernels][gemm]") {
  // Sums of up to 20 products below 1: errors of a few units in the last place of 8.
  for (const double beta : {0.0, 1.0, 0.5}) {
    CAPTURE(beta);
    CHECK(worst_difference<double, double>(DataType::fp64, DataType::fp64, beta) < 8 * 0x1p-50);
    CHECK(worst_difference<float, float>(DataType::fp32, DataType::fp32, beta) < 8 * 0x1p-21);
    CHECK(worst_difference<kernels::BFloat16, float>(DataType::bf16, DataType::fp32, beta) <
          8 * 0x1p-21);
    CHECK(worst_difference<kernels::BFloat16, kernels::BFloat16>(
              DataType::bf16, DataType::bf16, beta) < 8 * 0x1p-8);
  }
}

TEST_CASE("a product into a type that its sums do not have is refused", "[kernels][gemm]") {
  CHECK_THROWS_AS(kernels::gemm_reference({.type = DataType::fp32, .c_type = DataType::bf16}),
                  std::invalid_argument);
}

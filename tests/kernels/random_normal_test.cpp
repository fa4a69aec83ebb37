#include "kernels/random_normal.hpp"

#include "kernels/philox.hpp"
#include "tests/catch.hpp"
#include "tests/kernels/host_values.hpp"

using namespace runflat;
using kernels::DataType;
using kernels::philox;
using Words = std::array<std::uint32_t, 4>;

TEST_CASE("Philox gives the known answers of Random123", "[kernels][random_normal]") {
  // kat_vectors of the Random123 distribution: philox4x32, 10 rounds.
  CHECK(philox({0, 0, 0, 0}, {0, 0}) == Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
  CHECK(philox({0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, {0xffffffff, 0xffffffff}) ==
        Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
  CHECK(philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}) ==
        Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
}

namespace {

template <typename T>
std::vector<T> draw(DataType type, std::int64_t first, std::int64_t num, std::uint64_t stream_id) {
  std::vector<T> out(static_cast<std::size_t>(num));
  kernels::random_normal_reference({.dst = out.data(),
                                    .num = num,
                                    .first = first,
                                    .seed = 1234,
                                    .stream_id = stream_id,
                                    .type = type});
  return out;
}

template <typename T>
void check_independence(DataType type) {
  constexpr std::int64_t kNum = 61;
  for (const std::int64_t start : {std::int64_t{0}, (std::int64_t{1} << 40) + 3}) {
    const auto whole = tests::converted<double>(draw<T>(type, start, kNum, 7));
    tests::Dice dice(1);
    for (std::int64_t first = 0; first < kNum;) {
      const std::int64_t num = std::min(dice.between(0, 9), kNum - first);
      const auto part = tests::converted<double>(draw<T>(type, start + first, num, 7));
      CHECK(std::equal(part.begin(), part.end(), whole.begin() + first));
      first += num;
    }
  }
}

}  // namespace

TEST_CASE("an element is the same whoever draws it, in whatever pieces",
          "[kernels][random_normal]") {
  check_independence<double>(DataType::fp64);
  check_independence<float>(DataType::fp32);
  check_independence<kernels::BFloat16>(DataType::bf16);
}

TEST_CASE("a type rounds what the wider one draws", "[kernels][random_normal]") {
  const auto fp64 = draw<double>(DataType::fp64, 0, 100, 1);
  const auto fp32 = draw<float>(DataType::fp32, 0, 100, 1);
  CHECK(tests::converted<float>(fp64) == fp32);
}

TEST_CASE("draws are standard normal, and streams are not correlated", "[kernels][random_normal]") {
  constexpr std::int64_t kNum = 100'000;
  const auto x = draw<double>(DataType::fp64, 0, kNum, 1);
  const auto y = draw<double>(DataType::fp64, 0, kNum, 2);
  const std::vector<double> ones(x.size(), 1.0);
  std::vector<double> squares;
  double within_one = 0.0;
  for (const double value : x) {
    squares.push_back(value * value);
    within_one += std::abs(value) < 1.0 ? 1.0 : 0.0;
  }
  // Five standard errors of each estimate.
  const double error = 5.0 / std::sqrt(static_cast<double>(kNum));
  const auto mean = [&](double sum) { return sum / static_cast<double>(kNum); };
  CHECK(std::abs(mean(tests::dot(x, ones))) < error);
  CHECK(std::abs(mean(tests::dot(squares, ones)) - 1.0) < error * std::sqrt(2.0));
  CHECK(std::abs(mean(tests::dot(squares, squares)) - 3.0) < error * std::sqrt(96.0));
  CHECK(std::abs(mean(within_one) - std::erf(std::sqrt(0.5))) < error * 0.5);
  CHECK(std::abs(mean(tests::dot(x, y))) < error);
}

TEST_CASE("mean and deviation move and stretch the draws", "[kernels][random_normal]") {
  double moved = 0.0;
  kernels::random_normal_reference({.dst = &moved,
                                    .num = 1,
                                    .first = 5,
                                    .seed = 1234,
                                    .stream_id = 1,
                                    .mean = 3.0,
                                    .std = 0.02,
                                    .type = DataType::fp64});
  CHECK(moved == Approx(3.0 + 0.02 * draw<double>(DataType::fp64, 5, 1, 1).at(0)));
}

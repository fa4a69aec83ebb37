#include "kernels/qkv_split.hpp"

#include "tests/catch.hpp"
#include "tests/kernels/host_values.hpp"

using namespace runflat;
using Values = std::vector<double>;

namespace {

/// Two groups of three query heads of size 4; the rank uses the last two of each.
struct Case {
  kernels::QkvSplitArgs args = {.tokens = 6,
                                .batch_size = 2,
                                .groups = 2,
                                .heads_per_group = 3,
                                .first_head = 1,
                                .num_heads = 2,
                                .head_size = 4,
                                .type = kernels::DataType::fp64};
  Values qkv, q, k, v, cos, sin;

  explicit Case(tests::Dice& dice)
      : qkv(tests::random_values(dice, 6 * 2 * 5 * 4)),
        q(static_cast<std::size_t>(6 * 2 * 2 * 4)),
        k(static_cast<std::size_t>(6 * 2 * 4)),
        v(k) {
    for (int position = 0; position < 3; ++position) {
      for (int i = 0; i < 2; ++i) {
        const double angle = position * std::pow(10000.0, -i / 2.0);
        cos.push_back(std::cos(angle));
        sin.push_back(std::sin(angle));
      }
    }
    args.qkv = qkv.data();
    args.q = q.data();
    args.k = k.data();
    args.v = v.data();
    args.cos = cos.data();
    args.sin = sin.data();
  }

  /// Of head `slot` of a group in qkv, keys at slot 3 and values at 4.
  [[nodiscard]] double in_qkv(int token, int group, int slot, int i) const {
    return qkv.at(static_cast<std::size_t>(((token * 2 + group) * 5 + slot) * 4 + i));
  }
};

}  // namespace

TEST_CASE("a head at position p is turned by p times its frequencies", "[kernels][qkv_split]") {
  tests::Dice dice(1);
  Case split(dice);
  kernels::qkv_split_reference(split.args);
  for (int token = 0; token < 6; ++token) {
    const int position = token / 2;
    for (int group = 0; group < 2; ++group) {
      for (int i = 0; i < 2; ++i) {
        // Pairs (i, i + 2) as complex numbers, times exp(sqrt(-1) angle).
        const double angle = position * std::pow(10000.0, -i / 2.0);
        const auto at = [](int index) { return static_cast<std::size_t>(index); };
        const auto check_turned = [&](int slot, double a, double b) {
          const double from_a = split.in_qkv(token, group, slot, i);
          const double from_b = split.in_qkv(token, group, slot, i + 2);
          CHECK(a == Approx(from_a * std::cos(angle) - from_b * std::sin(angle)));
          CHECK(b == Approx(from_b * std::cos(angle) + from_a * std::sin(angle)));
        };
        const int key = (token * 2 + group) * 4 + i;
        check_turned(3, split.k.at(at(key)), split.k.at(at(key + 2)));
        for (int head = 0; head < 2; ++head) {
          const int query = ((token * 2 + group) * 2 + head) * 4 + i;
          check_turned(1 + head, split.q.at(at(query)), split.q.at(at(query + 2)));
        }
        CHECK(split.v.at(at(key)) == split.in_qkv(token, group, 4, i));
      }
    }
  }
}

TEST_CASE("merging undoes splitting, and gives unused heads 0", "[kernels][qkv_split]") {
  tests::Dice dice(2);
  for (const bool rope : {true, false}) {
    Case split(dice);
    if (!rope) {
      split.args.cos = split.args.sin = nullptr;
    }
    Values before = split.qkv;
    kernels::qkv_split_reference(split.args);
    kernels::qkv_merge_reference(split.args);
    for (std::size_t i = 0; i < before.size(); ++i) {
      if (i / 4 % 5 == 0) {
        before.at(i) = 0.0;  // head 0 of every group
      }
    }
    CHECK(tests::max_difference(split.qkv, before) < (rope ? 1e-15 : 1e-300));
  }
}

TEST_CASE("merging gradients is the transpose of splitting", "[kernels][qkv_split]") {
  // split is linear, so that <split(x), g> = <x, merge(g)> says that merge is its gradient.
  tests::Dice dice(3);
  Case split(dice);
  const Values x = split.qkv;
  kernels::qkv_split_reference(split.args);
  const auto gradient_like = [&](const Values& values) {
    return tests::random_values(dice, static_cast<std::int64_t>(values.size()));
  };
  const Values dq = gradient_like(split.q);
  const Values dk = gradient_like(split.k);
  const Values dv = gradient_like(split.v);
  const double forward =
      tests::dot(split.q, dq) + tests::dot(split.k, dk) + tests::dot(split.v, dv);
  std::copy(dq.begin(), dq.end(), split.q.begin());
  std::copy(dk.begin(), dk.end(), split.k.begin());
  std::copy(dv.begin(), dv.end(), split.v.begin());
  kernels::qkv_merge_reference(split.args);
  CHECK(tests::dot(x, split.qkv) == Approx(forward).epsilon(1e-13));
}

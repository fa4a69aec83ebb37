#include "kernels/attention.hpp"

#include "tests/catch.hpp"
#include "tests/kernels/host_values.hpp"

using namespace runflat;
using Values = std::vector<double>;

namespace {

/// Two sequences of 6, four heads over two kv-groups.
struct Case {
  kernels::AttentionShape shape = {.seq_length = 6,
                                   .batch_size = 2,
                                   .heads = 4,
                                   .groups = 2,
                                   .head_size = 3,
                                   .scale = 0.7,
                                   .type = kernels::DataType::fp64};
  Values q, k, v, out, lse;

  explicit Case(tests::Dice& dice)
      : q(tests::random_values(dice, 6 * 2 * 4 * 3, 2.0)),
        k(tests::random_values(dice, 6 * 2 * 2 * 3, 2.0)),
        v(tests::random_values(dice, 6 * 2 * 2 * 3, 2.0)),
        out(q.size()),
        lse(static_cast<std::size_t>(2 * 4 * 6)) {}

  void forward() {
    kernels::attention_forward_reference({.shape = shape,
                                          .q = q.data(),
                                          .k = k.data(),
                                          .v = v.data(),
                                          .out = out.data(),
                                          .lse = lse.data()});
  }
};

/// The first element of a head in a [s, b, heads, head_size] tensor.
std::size_t at(const Case& test, int position, int sequence, int head, std::int64_t heads) {
  return static_cast<std::size_t>(((position * test.shape.batch_size + sequence) * heads + head) *
                                  test.shape.head_size);
}

}  // namespace

TEST_CASE("attention is the softmax of the earlier positions' scores, applied to their values",
          "[kernels][attention]") {
  tests::Dice dice(1);
  Case test(dice);
  test.forward();
  for (int sequence = 0; sequence < 2; ++sequence) {
    for (int head = 0; head < 4; ++head) {
      for (int i = 0; i < 6; ++i) {
        double sum = 0.0;
        Values expected(3);
        for (int j = 0; j <= i; ++j) {
          double score = 0.0;
          for (std::size_t d = 0; d < 3; ++d) {
            score += test.q.at(at(test, i, sequence, head, 4) + d) *
                     test.k.at(at(test, j, sequence, head / 2, 2) + d);
          }
          const double weight = std::exp(0.7 * score);
          sum += weight;
          for (std::size_t d = 0; d < 3; ++d) {
            expected.at(d) += weight * test.v.at(at(test, j, sequence, head / 2, 2) + d);
          }
        }
        for (std::size_t d = 0; d < 3; ++d) {
          CHECK(test.out.at(at(test, i, sequence, head, 4) + d) ==
                Approx(expected.at(d) / sum).epsilon(1e-13));
        }
        CHECK(test.lse.at(static_cast<std::size_t>((sequence * 4 + head) * 6 + i)) ==
              Approx(std::log(sum)).epsilon(1e-13));
      }
    }
  }
}

TEST_CASE("gradients of attention are those of central differences", "[kernels][attention]") {
  tests::Dice dice(2);
  Case test(dice);
  const Values dout = tests::random_values(dice, static_cast<std::int64_t>(test.out.size()));
  const auto loss = [&] {
    test.forward();
    return tests::dot(test.out, dout);
  };
  const Values expected_dq = tests::central_differences(test.q, loss);
  const Values expected_dk = tests::central_differences(test.k, loss);
  const Values expected_dv = tests::central_differences(test.v, loss);
  test.forward();
  Values dq(test.q.size());
  Values dk(test.k.size());
  Values dv(test.v.size());
  kernels::attention_backward_reference({.shape = test.shape,
                                         .q = test.q.data(),
                                         .k = test.k.data(),
                                         .v = test.v.data(),
                                         .out = test.out.data(),
                                         .lse = test.lse.data(),
                                         .dout = dout.data(),
                                         .dq = dq.data(),
                                         .dk = dk.data(),
                                         .dv = dv.data()});
  CHECK(tests::max_difference(dq, expected_dq) < tests::kDifferencesError);
  CHECK(tests::max_difference(dk, expected_dk) < tests::kDifferencesError);
  CHECK(tests::max_difference(dv, expected_dv) < tests::kDifferencesError);
}

TEST_CASE("huge scores give the value of the largest", "[kernels][attention]") {
  tests::Dice dice(3);
  Case test(dice);
  test.shape.scale = 1e4;
  test.forward();
  for (const double value : test.out) {
    CHECK(std::abs(value) <= 2.0);
  }
}

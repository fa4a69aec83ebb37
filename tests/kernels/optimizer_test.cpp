#include "kernels/optimizer.hpp"

#include "tests/catch.hpp"
#include "tests/kernels/host_values.hpp"

using namespace runflat;
using kernels::AdamwTensor;
using kernels::DataType;
using Values = std::vector<double>;

namespace {

/// AdamW of one number, as the paper by Loshchilov and Hutter writes it.
struct Scalar {
  double p = 0.0;
  double m = 0.0;
  double v = 0.0;

  void step(double g, double lr, double weight_decay, int t) {
    m = 0.9 * m + 0.1 * g;
    v = 0.999 * v + 0.001 * g * g;
    const double m_hat = m / (1.0 - std::pow(0.9, t));
    const double v_hat = v / (1.0 - std::pow(0.999, t));
    p -= lr * (m_hat / (std::sqrt(v_hat) + 1e-8) + weight_decay * p);
  }
};

template <typename A>
struct State {
  std::vector<A> grad, master, exp_avg, exp_avg_sq;

  explicit State(const Values& start)
      : grad(start.size()),
        master(tests::converted<A>(start)),
        exp_avg(start.size()),
        exp_avg_sq(start.size()) {}

  [[nodiscard]] AdamwTensor tensor(double weight_decay, void* weight) {
    return {.grad = grad.data(),
            .master = master.data(),
            .exp_avg = exp_avg.data(),
            .exp_avg_sq = exp_avg_sq.data(),
            .weight = weight,
            .num = static_cast<std::int64_t>(grad.size()),
            .weight_decay = weight_decay};
  }
};

/// The largest difference from the scalar loop after 100 steps of two tensors, one with decay.
template <typename A>
double difference_after_100_steps(DataType weight_type) {
  tests::Dice dice(1);
  constexpr double kScale = 0.25;
  constexpr double kLr = 1e-2;
  const Values start = tests::random_values(dice, 11);
  State<A> decayed(start);
  State<A> plain(start);
  std::vector<Scalar> expected;
  for (int copy = 0; copy < 2; ++copy) {
    for (const A p : decayed.master) {
      expected.push_back({.p = static_cast<double>(p)});
    }
  }
  for (int t = 1; t <= 100; ++t) {
    for (std::size_t i = 0; i < expected.size(); ++i) {
      State<A>& state = i < start.size() ? decayed : plain;
      const auto g = static_cast<A>(tests::random_value(dice));
      state.grad.at(i % start.size()) = g;
      expected.at(i).step(kScale * static_cast<double>(g), kLr, i < start.size() ? 0.1 : 0.0, t);
    }
    const std::vector<AdamwTensor> tensors = {decayed.tensor(0.1, nullptr),
                                              plain.tensor(0.0, nullptr)};
    kernels::adamw_reference(
        {.tensors = tensors, .scale = &kScale, .lr = kLr, .step = t, .weight_type = weight_type});
  }
  double worst = 0.0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const State<A>& state = i < start.size() ? decayed : plain;
    worst = std::max(
        worst, std::abs(static_cast<double>(state.master.at(i % start.size())) - expected.at(i).p));
  }
  return worst;
}

}  // namespace

TEST_CASE("100 steps of AdamW are those of a scalar loop in fp64", "[kernels][optimizer]") {
  CHECK(difference_after_100_steps<double>(DataType::fp64) < 1e-14);
  CHECK(difference_after_100_steps<float>(DataType::fp32) < 1e-5);
  CHECK(difference_after_100_steps<float>(DataType::bf16) < 1e-5);
}

TEST_CASE("the weight is the master, rounded", "[kernels][optimizer]") {
  tests::Dice dice(2);
  State<float> state(tests::random_values(dice, 9));
  state.grad = tests::converted<float>(tests::random_values(dice, 9));
  std::vector<kernels::BFloat16> weight(9);
  const double scale = 1.0;
  const AdamwTensor tensor = state.tensor(0.01, weight.data());
  kernels::adamw_reference(
      {.tensors = {&tensor, 1}, .scale = &scale, .lr = 1e-3, .weight_type = DataType::bf16});
  CHECK(tests::converted<double>(weight) ==
        tests::converted<double>(tests::converted<kernels::BFloat16>(state.master)));
}

TEST_CASE("squares of all runs add to what is there", "[kernels][optimizer]") {
  const std::vector<float> a = {3.0F, 4.0F};
  const std::vector<float> b = {1e20F, 0.5F};
  double sum = 7.0;
  const std::vector<kernels::GradRun> first = {{.grad = a.data(), .num = 2}};
  kernels::squared_sum_reference({.runs = first, .sum = &sum});
  CHECK(sum == 32.0);
  const std::vector<kernels::GradRun> second = {{.grad = b.data(), .num = 1},
                                                {.grad = b.data() + 1, .num = 1}};
  kernels::squared_sum_reference({.runs = second, .sum = &sum});
  CHECK(sum == Approx(1e40));  // beyond fp32
}

namespace {

struct Clip {
  double norm = 0.0;
  double scale = 0.0;
};

Clip clip(double squared_sum, double tokens, double max_norm) {
  Clip out;
  kernels::clip_scale_reference({.squared_sum = &squared_sum,
                                 .tokens = &tokens,
                                 .norm = &out.norm,
                                 .scale = &out.scale,
                                 .max_norm = max_norm});
  return out;
}

}  // namespace

TEST_CASE("clipping scales the norm down to its limit, never up", "[kernels][optimizer]") {
  const Clip large = clip(1e4, 10.0, 1.0);  // norm 10
  CHECK(large.norm == 10.0);
  CHECK(large.scale == Approx(0.01).epsilon(1e-6));
  const Clip small = clip(1.0, 10.0, 1.0);
  CHECK(small.norm == 0.1);
  CHECK(small.scale == 0.1);
  CHECK(clip(1e4, 10.0, 0.0).scale == 0.1);  // no clipping
  CHECK(clip(4.0, 0.0, 0.0).scale == 1.0);   // no tokens
  CHECK(std::isnan(clip(INFINITY, 1.0, 1.0).scale));
  CHECK(std::isnan(clip(NAN, 1.0, 0.0).scale));
}

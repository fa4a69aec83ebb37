#include "kernels/optimizer.hpp"
#include "tests/catch.hpp"
#include "tests/kernels/device_memory.hpp"

#include <list>

using namespace runflat;
using kernels::AdamwTensor;
using kernels::BFloat16;
using kernels::DataType;
using tests::DeviceValues;
using Values = std::vector<double>;

namespace {

template <typename T>
struct State {
  DeviceValues<float> grad, master, exp_avg, exp_avg_sq;
  DeviceValues<T> weight;
  double weight_decay;
  Values host_master, host_avg, host_avg_sq;

  State(tests::Dice& dice, std::int64_t num, std::int64_t shift)
      : grad(tests::random_values(dice, num), shift),
        master(tests::random_values(dice, num), shift),
        exp_avg(tests::random_values(dice, num), shift),
        exp_avg_sq(Values(static_cast<std::size_t>(num), 0.25), shift),
        weight(Values(static_cast<std::size_t>(num)), shift),
        weight_decay(dice.one_in(2) ? 0.1 : 0.0),
        host_master(master.host),
        host_avg(exp_avg.host),
        host_avg_sq(exp_avg_sq.host) {}

  [[nodiscard]] AdamwTensor device_tensor() const {
    return {.grad = grad.data(),
            .master = master.data(),
            .exp_avg = exp_avg.data(),
            .exp_avg_sq = exp_avg_sq.data(),
            .weight = weight.data(),
            .num = static_cast<std::int64_t>(grad.host.size()),
            .weight_decay = weight_decay};
  }
  [[nodiscard]] AdamwTensor host_tensor() {
    return {.grad = grad.host.data(),
            .master = host_master.data(),
            .exp_avg = host_avg.data(),
            .exp_avg_sq = host_avg_sq.data(),
            .num = static_cast<std::int64_t>(grad.host.size()),
            .weight_decay = weight_decay};
  }
};

template <typename T>
void check_adamw(tests::Dice& dice, int num_tensors, std::int64_t longest) {
  std::list<State<T>> states;
  std::vector<AdamwTensor> tensors;
  std::vector<AdamwTensor> host_tensors;
  for (int i = 0; i < num_tensors; ++i) {
    states.emplace_back(dice, dice.between(0, longest), dice.between(0, 1) * dice.between(0, 5));
    tensors.push_back(states.back().device_tensor());
    host_tensors.push_back(states.back().host_tensor());
  }
  const double scale = 0.25;
  const tests::DeviceBytes device_scale(sizeof(scale));
  tests::upload(device_scale.data(), &scale, sizeof(scale));
  const tests::DeviceStream stream;
  for (std::int64_t step = 5; step < 8; ++step) {
    kernels::adamw({.tensors = tensors,
                    .scale = reinterpret_cast<const double*>(device_scale.data()),
                    .lr = 1e-2,
                    .step = step,
                    .weight_type = tests::kTypeOf<T>},
                   stream.get());
    kernels::adamw_reference({.tensors = host_tensors,
                              .scale = &scale,
                              .lr = 1e-2,
                              .step = step,
                              .weight_type = DataType::fp64});
  }
  stream.finish();
  for (const State<T>& state : states) {
    CHECK(tests::num_wrong(state.master.read(), state.host_master, 1e-6, 1e-6) == 0);
    CHECK(tests::num_wrong(state.exp_avg.read(), state.host_avg, 1e-6, 1e-6) == 0);
    CHECK(tests::num_wrong(state.exp_avg_sq.read(), state.host_avg_sq, 1e-6, 1e-6) == 0);
    CHECK(state.weight.read() ==
          tests::converted<double>(tests::converted<T>(state.master.read())));
    CHECK(state.master.margins_intact());
    CHECK(state.weight.margins_intact());
    CHECK(state.exp_avg_sq.margins_intact());
  }
}

}  // namespace

TEST_CASE("AdamW on the device follows fp64, over more tensors than one launch holds",
          "[kernels][optimizer][gpu]") {
  tests::Dice dice(1);
  check_adamw<BFloat16>(dice, 3, 10);
  check_adamw<BFloat16>(dice, 100, 5000);
  check_adamw<float>(dice, 100, 5000);
}

TEST_CASE("the squared sum is that of fp64, the same bits every time, and clips",
          "[kernels][optimizer][gpu]") {
  tests::Dice dice(2);
  std::list<DeviceValues<float>> grads;
  std::vector<kernels::GradRun> runs;
  double expected = 3.0;
  for (int i = 0; i < 100; ++i) {
    grads.emplace_back(tests::random_values(dice, dice.between(0, 30000)), dice.between(0, 3));
    const DeviceValues<float>& grad = grads.back();
    runs.push_back({.grad = grad.data(), .num = static_cast<std::int64_t>(grad.host.size())});
    expected += tests::dot(grad.host, grad.host);
  }
  const tests::DeviceBytes workspace(kernels::squared_sum_workspace());
  const tests::DeviceBytes numbers(4 * sizeof(double));  // sum, tokens, norm, scale
  auto* const sum = reinterpret_cast<double*>(numbers.data());
  const tests::DeviceStream stream;
  std::vector<double> first;
  for (int round = 0; round < 2; ++round) {
    std::vector<double> host = {3.0, 10.0, 0.0, 0.0};
    tests::upload(sum, host.data(), 32);
    kernels::squared_sum({.runs = runs, .sum = sum, .workspace = workspace.data()}, stream.get());
    kernels::clip_scale({.squared_sum = sum, .tokens = sum + 1, .norm = sum + 2, .scale = sum + 3},
                        stream.get());
    stream.finish();
    kernels::check_cuda(cudaMemcpy(host.data(), sum, 32, cudaMemcpyDeviceToHost), "cudaMemcpy");
    CHECK(host.at(0) == Approx(expected).epsilon(1e-12));
    CHECK(host.at(2) == Approx(std::sqrt(expected) / 10.0).epsilon(1e-12));
    CHECK(host.at(3) == Approx(1.0 / (std::sqrt(expected) / 10.0 + 1e-6) / 10.0).epsilon(1e-9));
    CHECK((round == 0 || host == first));
    first = host;
  }
}

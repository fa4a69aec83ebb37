#include "core/error.hpp"
#include "exec/communication/loopback_communicator.hpp"
#include "exec/data/mock_dataset.hpp"
#include "exec/device/host_device.hpp"
#include "exec/training/trainer.hpp"
#include "tests/catch.hpp"
#include "tests/dice.hpp"
#include "tests/exec/training_run.hpp"

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

using namespace runflat;
using namespace runflat::exec;
using namespace runflat::tests;

namespace {

struct Check {
  std::string param;
  double gradient = 0.0;
  double difference = 0.0;
};

/// The gradients of a few elements of every parameter of a one-rank job in fp64, beside the
/// five-point difference (8 (f(e) - f(-e)) - (f(2e) - f(-2e))) / 12 e of the sum of losses, both
/// over the largest gradient of the parameter.
std::vector<Check> compare_gradients(const ModelSpec& model, Recompute recompute) {
  const LayoutCase alone{.name = "one rank", .sizes = {}, .recompute = recompute};
  TrainerConfig config = config_of(alone);
  config.type = DataType::fp64;
  config.lr = {.lr = 0.0, .style = LrDecayStyle::constant};
  std::vector<Check> checks;
  spawn(1, [&](ThreadRank& thread) {
    HostDevice device;
    const MockDataset data({.seq_length = model.seq_length,
                            .num_samples = 1000,
                            .vocab_size = model.padded_vocab_size,
                            .seed = 3});
    Trainer trainer(device, thread.transport, plan_of(model, alone), config);
    const auto loss = [&] {
      trainer.set_progress({});
      const StepResult result = trainer.step(data);
      return result.sums.loss * result.sums.tokens;
    };
    StageState& state = *trainer.stages().front();
    Dice dice(11);
    for (const StageParam& param : state.params()) {
      const ParamRef ref = state.find(param.name);
      auto* weights = static_cast<double*>(ref.weight);
      const auto* grads = static_cast<const double*>(ref.grad);
      static_cast<void>(loss());
      const double largest = std::abs(*std::max_element(
          grads, grads + ref.num, [](double a, double b) { return std::abs(a) < std::abs(b); }));
      for (int i = 0; i < 4; ++i) {
        const std::int64_t at = dice.between(0, ref.num - 1);
        static_cast<void>(loss());
        const double gradient = grads[at];
        const double weight = weights[at];
        constexpr double kStep = 1e-3;
        const auto loss_at = [&](double steps) {
          weights[at] = weight + steps * kStep;
          return loss();
        };
        const double difference =
            (8.0 * (loss_at(1.0) - loss_at(-1.0)) - (loss_at(2.0) - loss_at(-2.0))) /
            (12.0 * kStep);
        weights[at] = weight;
        checks.push_back({.param = param.name,
                          .gradient = gradient / largest,
                          .difference = difference / largest});
      }
    }
  });
  return checks;
}

}  // namespace

TEST_CASE("every gradient of a model is the finite difference of its loss", "[exec][gradient]") {
  const Recompute recompute = GENERATE(Recompute::none, Recompute::selective, Recompute::full);
  ModelSpec model = GENERATE(tiny_llama(), tiny_gpt());
  model.num_layers = 1;
  model.hidden_size = 16;
  model.padded_vocab_size = 32;
  for (const Check& check : compare_gradients(model, recompute)) {
    CAPTURE(model.name, check.param, check.gradient, check.difference);
    // e = 1e-3: e^4 of truncation, and 1e-13 / e of rounding in a sum of losses of about 1e3.
    CHECK(std::abs(check.gradient - check.difference) <= 1e-6);
  }
}

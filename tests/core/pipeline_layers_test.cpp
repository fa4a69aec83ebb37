#include "core/pipeline_layers.hpp"

#include "core/error.hpp"
#include "tests/catch.hpp"
#include "tests/dice.hpp"

#include <algorithm>

using namespace runflat;

namespace {

std::vector<std::int64_t> num_layers_of_stages(std::int64_t layers,
                                               std::int64_t pp,
                                               std::int64_t vpp) {
  std::vector<std::int64_t> num(static_cast<std::size_t>(pp), 0);
  for (const PpRank stage : stages_of_layers(layers, pp, vpp)) {
    ++num.at(stage.index());
  }
  return num;
}

}  // namespace

TEST_CASE("all layers have a stage, and virtual stages differ by one layer at most",
          "[core][pipeline_layers]") {
  tests::Dice dice(1);
  for (int round = 0; round < 300; ++round) {
    const std::int64_t pp = dice.between(1, 9);
    const std::int64_t vpp = dice.between(1, 4);
    const std::int64_t layers = dice.between(0, 80);
    CHECK(stages_of_layers(layers, pp, vpp).size() == static_cast<std::size_t>(layers));
    const std::vector<std::int64_t> num = num_layers_of_stages(layers, pp, vpp);
    const auto [least, most] = std::minmax_element(num.begin(), num.end());
    CHECK(*most - *least <= vpp);
    if (layers % (pp * vpp) == 0) {
      CHECK(*most == *least);
    }
  }
}

TEST_CASE("layers fill the virtual stages in order", "[core][pipeline_layers]") {
  const auto stages = [](std::initializer_list<std::int64_t> numbers) {
    std::vector<PpRank> of;
    for (const std::int64_t number : numbers) {
      of.emplace_back(number);
    }
    return of;
  };
  CHECK(stages_of_layers(4, 2, 1) == stages({0, 0, 1, 1}));
  CHECK(stages_of_layers(4, 2, 2) == stages({0, 1, 0, 1}));
  // Megatron: stage r, chunk c starts at c (L / v) + r (L / (pp v)) (training-engine.md §1.12).
  CHECK(stages_of_layers(8, 2, 2) == stages({0, 0, 1, 1, 0, 0, 1, 1}));
  CHECK(stages_of_layers(3, 4, 1) == stages({0, 1, 2}));
  CHECK(stages_of_layers(6, 4, 1) == stages({0, 1, 1, 2, 2, 3}));
  CHECK_THROWS_AS(stages_of_layers(4, 0, 1), InvalidArgument);
}

TEST_CASE("Llama-3 405B has one layer less on its first and on its last stage",
          "[core][pipeline_layers][golden]") {
  // arXiv 2407.21783 §3.3.2: 126 layers on 16 stages, to balance the embedding and the output.
  std::vector<std::int64_t> expected(16, 8);
  expected.front() = 7;
  expected.back() = 7;
  CHECK(num_layers_of_stages(126, 16, 8) == expected);
  CHECK(num_layers_of_stages(126, 16, 1) == expected);
}

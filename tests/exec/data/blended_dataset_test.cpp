#include "exec/data/blended_dataset.hpp"

#include "core/error.hpp"
#include "exec/data/mock_dataset.hpp"
#include "tests/catch.hpp"
#include "tests/dice.hpp"

#include <cmath>
#include <memory>
#include <vector>

using namespace runflat;
using namespace runflat::exec;

namespace {

std::vector<std::unique_ptr<SampleSource>> mock_sources(std::span<const std::int64_t> sizes) {
  std::vector<std::unique_ptr<SampleSource>> sources;
  for (const std::int64_t size : sizes) {
    sources.push_back(std::make_unique<MockDataset>(MockDatasetConfig{
        .seq_length = 6, .num_samples = size, .vocab_size = 100, .seed = sources.size()}));
  }
  return sources;
}

BlendedDataset blend_of(std::span<const double> weights, std::int64_t num_samples) {
  return BlendedDataset(mock_sources(blend_requests(weights, num_samples)), weights, num_samples);
}

}  // namespace

TEST_CASE("the source that is furthest behind its share comes next", "[exec][data]") {
  // w max(n, 1) - count at every n, the larger chosen, the first in a tie:
  //   n      0         1          2         3          4         5
  //   0.7    0.7 0.3   -0.3 0.3   0.4 -0.4  0.1 -0.1   -0.2 0.2  0.5 -0.5
  const BlendedDataset dataset = blend_of(std::vector<double>{7.0, 3.0}, 6);
  CHECK(std::vector<std::int16_t>(dataset.source_index().begin(), dataset.source_index().end()) ==
        std::vector<std::int16_t>{0, 1, 0, 0, 1, 0});
  const auto samples = dataset.source_sample_index();
  CHECK(std::vector<std::int64_t>(samples.begin(), samples.end()) ==
        std::vector<std::int64_t>{0, 0, 1, 2, 1, 3});
  CHECK(blend_of(std::vector<double>{1.0, 1.0, 1.0}, 1).source_index()[0] == 0);
}

TEST_CASE("sources keep their shares, and give their samples in order", "[exec][data]") {
  tests::Dice dice(6);
  for (int round = 0; round < 20; ++round) {
    std::vector<double> weights(static_cast<std::size_t>(dice.between(1, 7)));
    double sum = 0.0;
    for (double& weight : weights) {
      weight = static_cast<double>(dice.between(1, 1000));
      sum += weight;
    }
    const BlendedDataset dataset = blend_of(weights, 2000);
    std::vector<std::int64_t> count(weights.size(), 0);
    for (std::size_t n = 0; n < 2000; ++n) {
      const auto source = static_cast<std::size_t>(dataset.source_index()[n]);
      REQUIRE(dataset.source_sample_index()[n] == count[source]++);
      // Who is served was behind, so nobody gets more than one sample ahead.
      REQUIRE(static_cast<double>(count[source]) <=
              weights[source] / sum * static_cast<double>(n) + 1.0 + 1e-9);
    }
  }
}

TEST_CASE("a blend's samples are its sources'", "[exec][data]") {
  const std::vector<double> weights = {1.0, 2.0};
  const BlendedDataset dataset = blend_of(weights, 30);
  const auto sources = mock_sources(blend_requests(weights, 30));
  std::vector<std::int64_t> tokens(6), labels(6), expected_tokens(6), expected_labels(6);
  std::vector<float> mask(6);
  for (std::int64_t i = 0; i < dataset.num_samples(); ++i) {
    const auto at = static_cast<std::size_t>(i);
    dataset.fill(i, tokens, labels, mask);
    sources[static_cast<std::size_t>(dataset.source_index()[at])]->fill(
        dataset.source_sample_index()[at], expected_tokens, expected_labels, mask);
    CHECK(tokens == expected_tokens);
    CHECK(labels == expected_labels);
  }
}

TEST_CASE("requests have half a per cent to spare", "[exec][data]") {
  // ceil(ceil(1000 * 0.3) * 1.005), ceil(ceil(1000 * 0.7) * 1.005)
  CHECK(blend_requests(std::vector<double>{3.0, 7.0}, 1000) == std::vector<std::int64_t>{302, 704});
}

TEST_CASE("a source that runs out is named", "[exec][data]") {
  CHECK_THROWS_WITH(
      BlendedDataset(
          mock_sources(std::vector<std::int64_t>{100, 4}), std::vector<double>{1.0, 1.0}, 20),
      Catch::Contains("source 1 of the blend has only 4 samples"));
  CHECK_THROWS_AS(blend_requests(std::vector<double>{1.0, 0.0}, 10), InvalidArgument);
}

#include "exec/data/mock_dataset.hpp"

#include "tests/catch.hpp"

#include <algorithm>
#include <vector>

using namespace runflat::exec;

namespace {

std::vector<std::int64_t> tokens_of(const MockDataset& dataset, std::int64_t sample) {
  const auto size = static_cast<std::size_t>(dataset.seq_length());
  std::vector<std::int64_t> tokens(size), labels(size);
  std::vector<float> mask(size);
  dataset.fill(sample, tokens, labels, mask);
  CHECK(std::equal(tokens.begin() + 1, tokens.end(), labels.begin()));
  CHECK(std::ranges::count(mask, 1.0F) == dataset.seq_length());
  return tokens;
}

}  // namespace

TEST_CASE("mock samples depend on seed and number only, and count in steps", "[exec][data]") {
  const MockDatasetConfig config = {
      .seq_length = 9, .num_samples = 200, .vocab_size = 50, .seed = 4};
  MockDatasetConfig longer = config;
  longer.num_samples = std::int64_t{1} << 40;
  MockDatasetConfig other = config;
  other.seed = 5;
  const MockDataset dataset(config);
  int num_same = 0;
  std::vector<std::int64_t> seen;
  for (std::int64_t i = 0; i < dataset.num_samples(); ++i) {
    const std::vector<std::int64_t> tokens = tokens_of(dataset, i);
    CHECK(tokens == tokens_of(MockDataset(longer), i));
    num_same += tokens == tokens_of(MockDataset(other), i) ? 1 : 0;
    const std::int64_t step = (tokens[1] - tokens[0] + 50) % 50;
    CHECK((1 <= step && step <= 7));
    for (std::size_t t = 1; t < tokens.size(); ++t) {
      CHECK(tokens[t] == (tokens[t - 1] + step) % 50);
    }
    seen.push_back(tokens[0]);
  }
  CHECK(num_same < 20);  // 1 in 350 by chance
  std::ranges::sort(seen);
  const auto rest = std::ranges::unique(seen);
  CHECK(rest.begin() - seen.begin() > 40);  // starts are all over the vocabulary
}

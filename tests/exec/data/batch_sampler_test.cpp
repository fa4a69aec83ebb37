#include "exec/data/batch_sampler.hpp"

#include "core/error.hpp"
#include "tests/catch.hpp"
#include "tests/dice.hpp"

#include <algorithm>
#include <set>
#include <vector>

using namespace runflat;
using namespace runflat::exec;

namespace {

/// All samples of a step in the order of replicas and microbatches.
std::vector<std::int64_t> step_samples(const BatchSampler& sampler,
                                       std::int64_t num_replicas,
                                       std::int64_t consumed) {
  std::vector<std::int64_t> samples;
  for (std::int64_t r = 0; r < num_replicas; ++r) {
    for (std::int64_t m = 0; m < sampler.num_microbatches(DpRank(r)); ++m) {
      const SampleRange range = sampler.samples(consumed, DpRank(r), m);
      for (std::int64_t i = 0; i < range.num; ++i) {
        samples.push_back(range.first + i);
      }
    }
  }
  return samples;
}

/// A batch dealt out at random: unequal microbatches, in number and in size, and idle replicas.
std::vector<BatchShare> random_shares(tests::Dice& dice, std::int64_t global_batch_size) {
  std::vector<BatchShare> shares;
  for (std::int64_t left = global_batch_size; left > 0;) {
    BatchShare share = {.num_microbatches = dice.between(0, 5),
                        .micro_batch_size = dice.between(1, 4)};
    if (share.num_microbatches * share.micro_batch_size > left) {
      share = {.num_microbatches = left, .micro_batch_size = 1};
    }
    left -= share.num_microbatches * share.micro_batch_size;
    shares.push_back(share);
  }
  return shares;
}

}  // namespace

TEST_CASE("the samples of a step are the same however the batch is dealt out", "[exec][data]") {
  tests::Dice dice(8);
  for (int round = 0; round < 300; ++round) {
    const std::int64_t batch = dice.between(1, 40);
    const std::vector<BatchShare> shares = random_shares(dice, batch);
    const BatchSampler sampler(batch, shares);
    const std::int64_t consumed = dice.between(0, 10'000'000'000);
    std::vector<std::int64_t> expected(static_cast<std::size_t>(batch));
    for (std::int64_t i = 0; i < batch; ++i) {
      expected[static_cast<std::size_t>(i)] = consumed + i;
    }
    // Consecutive pieces by rank: not only the same set, the same order.
    CHECK(step_samples(sampler, static_cast<std::int64_t>(shares.size()), consumed) == expected);
  }
}

TEST_CASE("a run that changes its layout sees every sample once", "[exec][data]") {
  tests::Dice dice(9);
  constexpr std::int64_t kBatch = 24;
  std::vector<std::int64_t> seen;
  for (std::int64_t step = 0; step < 50; ++step) {
    const std::vector<BatchShare> shares = random_shares(dice, kBatch);
    const auto samples = step_samples(
        BatchSampler(kBatch, shares), static_cast<std::int64_t>(shares.size()), step * kBatch);
    seen.insert(seen.end(), samples.begin(), samples.end());
  }
  REQUIRE(seen.size() == 50 * kBatch);
  for (std::size_t i = 0; i < seen.size(); ++i) {
    CHECK(seen[i] == static_cast<std::int64_t>(i));
  }
}

TEST_CASE("replicas take consecutive pieces, microbatch by microbatch", "[exec][data]") {
  const BatchSampler sampler(8, {{2, 2}, {1, 2}, {2, 1}});
  CHECK(sampler.samples(80, DpRank(0), 1) == SampleRange{82, 2});
  CHECK(sampler.samples(80, DpRank(1), 0) == SampleRange{84, 2});
  CHECK(sampler.samples(80, DpRank(2), 1) == SampleRange{87, 1});
  CHECK_THROWS_AS(sampler.samples(80, DpRank(1), 1), InvalidArgument);
}

TEST_CASE("shares that are not the batch are refused", "[exec][data]") {
  CHECK_THROWS_WITH(BatchSampler(8, {{1, 4}, {1, 3}}), Catch::Contains("come to 7"));
  CHECK_THROWS_AS(BatchSampler(0, {}), InvalidArgument);
}

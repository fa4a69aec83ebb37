#include "kernels/cross_entropy.hpp"

#include "tests/catch.hpp"
#include "tests/kernels/host_values.hpp"

using namespace runflat;
using kernels::DataType;
using Values = std::vector<double>;

namespace {

constexpr std::int64_t kRows = 5;
constexpr std::int64_t kVocabulary = 23;

struct Loss {
  Values losses;
  Values gradient;  // [rows, vocabulary]
};

/// loss = mask (log sum exp(logits - max) + max - target), gradient = mask (softmax - one-hot).
Loss plain(const Values& logits, const std::vector<std::int32_t>& targets, const Values& mask) {
  Loss out;
  for (std::size_t row = 0; row < kRows; ++row) {
    const auto at = [&](std::size_t col) { return logits.at(row * kVocabulary + col); };
    double max = at(0);
    for (std::size_t col = 0; col < kVocabulary; ++col) {
      max = std::max(max, at(col));
    }
    double sum = 0.0;
    for (std::size_t col = 0; col < kVocabulary; ++col) {
      sum += std::exp(at(col) - max);
    }
    const auto target = static_cast<std::size_t>(targets.at(row));
    out.losses.push_back(mask.at(row) * (std::log(sum) + max - at(target)));
    for (std::size_t col = 0; col < kVocabulary; ++col) {
      const double softmax = std::exp(at(col) - max) / sum;
      out.gradient.push_back(mask.at(row) * (softmax - (col == target ? 1.0 : 0.0)));
    }
  }
  return out;
}

/// One rank's columns of the vocabulary, any of them in any order.
struct Shard {
  std::vector<std::int32_t> ids;
  std::vector<std::int32_t> local_row = std::vector<std::int32_t>(kVocabulary, -1);
  Values logits;  // [rows, ids.size()]

  [[nodiscard]] std::int64_t cols() const { return static_cast<std::int64_t>(ids.size()); }
};

std::vector<Shard> shards_of(tests::Dice& dice, const Values& logits, std::int64_t num_ranks) {
  std::vector<std::int32_t> ids(kVocabulary);
  for (std::size_t id = 0; id < ids.size(); ++id) {
    ids.at(id) = static_cast<std::int32_t>(id);
  }
  dice.shuffle(ids);
  std::vector<Shard> out(static_cast<std::size_t>(num_ranks));
  for (std::size_t i = 0; i < ids.size(); ++i) {
    // A quarter of the ids on rank 0 on top of its share: uneven.
    Shard& shard = out.at(i % 4 == 0 ? 0 : dice.index(out.size()));
    shard.local_row.at(static_cast<std::size_t>(ids.at(i))) =
        static_cast<std::int32_t>(shard.ids.size());
    shard.ids.push_back(ids.at(i));
  }
  for (Shard& shard : out) {
    for (std::size_t row = 0; row < kRows; ++row) {
      for (const std::int32_t id : shard.ids) {
        shard.logits.push_back(logits.at(row * kVocabulary + static_cast<std::size_t>(id)));
      }
    }
  }
  return out;
}

template <typename T>
Loss sharded(tests::Dice& dice,
             const Values& logits,
             const std::vector<std::int32_t>& targets,
             const Values& mask,
             std::int64_t num_ranks,
             DataType type) {
  using A = kernels::Accumulate<T>;
  std::vector<Shard> shards = shards_of(dice, logits, num_ranks);
  std::vector<A> stats(static_cast<std::size_t>(num_ranks * kRows * 3));
  std::vector<std::vector<T>> parts;
  for (std::size_t rank = 0; rank < shards.size(); ++rank) {
    parts.push_back(tests::converted<T>(shards.at(rank).logits));
    kernels::cross_entropy_stats_reference({.logits = parts.back().data(),
                                            .targets = targets.data(),
                                            .local_row = shards.at(rank).local_row.data(),
                                            .stats = stats.data() + rank * kRows * 3,
                                            .rows = kRows,
                                            .cols = shards.at(rank).cols(),
                                            .type = type});
  }
  Loss out = {Values(kRows), Values(kRows * kVocabulary, NAN)};
  const auto weights = tests::converted<float>(mask);
  for (std::size_t rank = 0; rank < shards.size(); ++rank) {
    const Shard& shard = shards.at(rank);
    std::vector<A> losses(kRows);
    kernels::cross_entropy_backward_reference({.logits = parts.at(rank).data(),
                                               .targets = targets.data(),
                                               .local_row = shard.local_row.data(),
                                               .stats = stats.data(),
                                               .loss_mask = weights.data(),
                                               .losses = losses.data(),
                                               .num_ranks = num_ranks,
                                               .rows = kRows,
                                               .cols = shard.cols(),
                                               .type = type});
    out.losses = tests::converted<double>(losses);
    for (std::size_t row = 0; row < kRows; ++row) {
      for (std::size_t col = 0; col < shard.ids.size(); ++col) {
        out.gradient.at(row * kVocabulary + static_cast<std::size_t>(shard.ids.at(col))) =
            static_cast<double>(parts.at(rank).at(row * shard.ids.size() + col));
      }
    }
  }
  return out;
}

const std::vector<std::int32_t> kTargets = {0, 22, 7, 7, 11};
const Values kMask = {1.0, 0.0, 0.5, 1.0, 2.0};

}  // namespace

TEST_CASE("any split of the vocabulary gives the loss and gradient of a plain log-softmax",
          "[kernels][cross_entropy]") {
  tests::Dice dice(1);
  for (const double scale : {3.0, 1e4}) {
    const Values logits = tests::random_values(dice, kRows * kVocabulary, scale);
    const Loss expected = plain(logits, kTargets, kMask);
    for (const std::int64_t num_ranks : {1, 2, 4, 7}) {
      CAPTURE(scale, num_ranks);
      const Loss got = sharded<double>(dice, logits, kTargets, kMask, num_ranks, DataType::fp64);
      CHECK(tests::max_difference(got.losses, expected.losses) < 1e-14 * scale);
      CHECK(tests::max_difference(got.gradient, expected.gradient) < 1e-14);
    }
  }
}

TEST_CASE("logits of +-1e4 give finite losses in fp32 and bf16", "[kernels][cross_entropy]") {
  tests::Dice dice(2);
  Values logits = tests::random_values(dice, kRows * kVocabulary);
  for (double& logit : logits) {
    logit = logit < 0 ? -1e4 : 1e4;
  }
  logits = tests::converted<double>(tests::converted<kernels::BFloat16>(logits));
  const Loss expected = plain(logits, kTargets, kMask);
  for (const std::int64_t num_ranks : {1, 3}) {
    const Loss fp32 = sharded<float>(dice, logits, kTargets, kMask, num_ranks, DataType::fp32);
    CHECK(tests::max_difference(fp32.losses, expected.losses) < 4e4 * 0x1p-23);
    CHECK(tests::max_difference(fp32.gradient, expected.gradient) < 4 * 0x1p-23);
    const Loss bf16 =
        sharded<kernels::BFloat16>(dice, logits, kTargets, kMask, num_ranks, DataType::bf16);
    CHECK(tests::max_difference(bf16.losses, expected.losses) < 4e4 * 0x1p-23);
    CHECK(tests::max_difference(bf16.gradient, expected.gradient) < 2 * 0x1p-8);
  }
}

TEST_CASE("the gradient is that of central differences of the summed losses",
          "[kernels][cross_entropy]") {
  tests::Dice dice(3);
  Values logits = tests::random_values(dice, kRows * kVocabulary, 3.0);
  const auto loss = [&] {
    const Loss out = sharded<double>(dice, logits, kTargets, kMask, 2, DataType::fp64);
    return tests::dot(out.losses, Values(kRows, 1.0));
  };
  const Values expected = tests::central_differences(logits, loss);
  const Loss got = sharded<double>(dice, logits, kTargets, kMask, 2, DataType::fp64);
  CHECK(tests::max_difference(got.gradient, expected) < tests::kDifferencesError);
}

TEST_CASE("columns of -inf take no part, even where a rank has no others",
          "[kernels][cross_entropy]") {
  tests::Dice dice(4);
  Values logits = tests::random_values(dice, kRows * kVocabulary);
  for (std::size_t i = 0; i < logits.size(); ++i) {
    if (i % kVocabulary > 11 && i % kVocabulary != 22) {
      logits.at(i) = -INFINITY;
    }
  }
  const Loss expected = plain(logits, kTargets, kMask);
  for (const std::int64_t num_ranks : {1, 7, 20}) {
    const Loss got = sharded<double>(dice, logits, kTargets, kMask, num_ranks, DataType::fp64);
    CHECK(tests::max_difference(got.losses, expected.losses) < 1e-13);
    CHECK(tests::max_difference(got.gradient, expected.gradient) < 1e-14);
  }
}

TEST_CASE("a NaN logit gives a NaN loss on every rank", "[kernels][cross_entropy]") {
  tests::Dice dice(5);
  Values logits = tests::random_values(dice, kRows * kVocabulary);
  logits.at(4) = NAN;
  const Loss got = sharded<float>(dice, logits, kTargets, kMask, 3, DataType::fp32);
  CHECK(std::isnan(got.losses.at(0)));
  CHECK(std::isfinite(got.losses.at(2)));
}

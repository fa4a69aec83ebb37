#include "kernels/cross_entropy.hpp"
#include "tests/catch.hpp"
#include "tests/kernels/device_memory.hpp"

using namespace runflat;
using kernels::BFloat16;
using kernels::DataType;
using tests::DeviceIds;
using tests::DeviceValues;
using Values = std::vector<double>;

namespace {

constexpr std::int64_t kRows = 9;

/// What either side of the comparison makes of one rank's columns.
struct Result {
  Values stats;
  Values losses;
  Values gradient;
};

/// Columns `first` to `first + cols` of the vocabulary, on the device and in fp64.
template <typename T>
struct Shard {
  DeviceIds local_row;
  DeviceValues<T> logits;
  std::int64_t cols;

  static std::vector<std::int32_t> rows_of(std::int64_t first,
                                           std::int64_t cols,
                                           std::int64_t vocabulary) {
    std::vector<std::int32_t> out(static_cast<std::size_t>(vocabulary), -1);
    for (std::int64_t col = 0; col < cols; ++col) {
      out.at(static_cast<std::size_t>(first + col)) = static_cast<std::int32_t>(col);
    }
    return out;
  }
  Shard(tests::Dice& dice,
        std::int64_t first,
        std::int64_t num,
        std::int64_t vocabulary,
        double scale,
        std::int64_t shift)
      : local_row(rows_of(first, num, vocabulary)),
        logits(tests::random_values(dice, kRows * num, scale), shift),
        cols(num) {}
};

template <typename T>
void check_loss(tests::Dice& dice,
                const std::vector<std::int64_t>& cols,
                double scale,
                std::int64_t shift) {
  std::int64_t vocabulary = 0;
  for (const std::int64_t num : cols) {
    vocabulary += num;
  }
  std::vector<Shard<T>> shards;
  std::int64_t first = 0;
  for (const std::int64_t num : cols) {
    shards.emplace_back(dice, first, num, vocabulary, scale, shift);
    first += num;
  }
  std::vector<std::int32_t> ids;
  Values mask;
  for (std::int64_t row = 0; row < kRows; ++row) {
    ids.push_back(static_cast<std::int32_t>(dice.between(0, vocabulary - 1)));
    mask.push_back(row == 3 ? 0.0 : 0.5 * static_cast<double>(dice.between(1, 4)));
  }
  const DeviceIds targets(ids);
  const DeviceValues<float> weights(mask, 0);
  const auto num_ranks = static_cast<std::int64_t>(shards.size());
  const DeviceValues<float> stats(
      Values(static_cast<std::size_t>(num_ranks * kRows * kernels::kCrossEntropyStats)), 0);
  Values expected_stats(stats.host.size());
  const tests::DeviceStream stream;
  for (std::size_t rank = 0; rank < shards.size(); ++rank) {
    const Shard<T>& shard = shards.at(rank);
    const std::size_t at = rank * kRows * kernels::kCrossEntropyStats;
    kernels::cross_entropy_stats({.logits = shard.logits.data(),
                                  .targets = targets.data(),
                                  .local_row = shard.local_row.data(),
                                  .stats = stats.data() + at,
                                  .rows = kRows,
                                  .cols = shard.cols,
                                  .type = tests::kTypeOf<T>},
                                 stream.get());
    kernels::cross_entropy_stats_reference({.logits = shard.logits.host.data(),
                                            .targets = targets.host.data(),
                                            .local_row = shard.local_row.host.data(),
                                            .stats = expected_stats.data() + at,
                                            .rows = kRows,
                                            .cols = shard.cols,
                                            .type = DataType::fp64});
  }
  stream.finish();
  // bf16 takes exponentials to three digits each; their sum is better than that.
  CHECK(tests::num_wrong(stats.read(), expected_stats, sizeof(T) == 2 ? 1e-4 : 1e-5, 0.0) == 0);
  for (const Shard<T>& shard : shards) {
    const DeviceValues<float> losses(Values(kRows, NAN), 1);
    kernels::cross_entropy_backward({.logits = shard.logits.data(),
                                     .targets = targets.data(),
                                     .local_row = shard.local_row.data(),
                                     .stats = stats.data(),
                                     .loss_mask = weights.data(),
                                     .losses = losses.data(),
                                     .num_ranks = num_ranks,
                                     .rows = kRows,
                                     .cols = shard.cols,
                                     .type = tests::kTypeOf<T>},
                                    stream.get());
    stream.finish();
    Values gradient = shard.logits.host;
    Values expected(kRows);
    kernels::cross_entropy_backward_reference({.logits = gradient.data(),
                                               .targets = targets.host.data(),
                                               .local_row = shard.local_row.host.data(),
                                               .stats = expected_stats.data(),
                                               .loss_mask = tests::converted<float>(mask).data(),
                                               .losses = expected.data(),
                                               .num_ranks = num_ranks,
                                               .rows = kRows,
                                               .cols = shard.cols,
                                               .type = DataType::fp64});
    CHECK(tests::num_wrong(losses.read(), expected, 1e-6, 2e-4 + 2e-7 * scale) == 0);
    CHECK(tests::num_wrong(shard.logits.read(), gradient, 2 * tests::kRounding<T>, 4e-6) == 0);
    CHECK(shard.logits.margins_intact());
    CHECK(losses.margins_intact());
  }
}

}  // namespace

TEST_CASE(
    "the device's losses and gradients are those of fp64, over uneven shards of any "
    "alignment",
    "[kernels][cross_entropy][gpu]") {
  tests::Dice dice(1);
  const std::vector<std::vector<std::int64_t>> splits = {{1},
                                                         {9},
                                                         {1000},
                                                         {50257},
                                                         {4097, 4096},
                                                         {1, 7, 300, 9001},
                                                         {18322, 18323, 18322, 3, 5, 77, 8}};
  for (const auto& cols : splits) {
    for (const double scale : {4.0, 1e4}) {
      for (const std::int64_t shift : {0, 3}) {
        CAPTURE(cols.size(), cols.front(), scale, shift);
        check_loss<float>(dice, cols, scale, shift);
        check_loss<BFloat16>(dice, cols, scale, shift);
      }
    }
  }
}

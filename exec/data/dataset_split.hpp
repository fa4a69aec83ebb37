#pragma once

#include "core/reader.hpp"

#include <array>
#include <cstdint>

namespace runflat::exec {

enum class Split { train, valid, test };

/// How the sequences of a data set are shared out; only the proportions count. Not all are 0.
using SplitWeights = std::array<double, 3>;

/// Megatron's `split`, up to three numbers of at least 0 between commas: "969, 30, 1".
[[nodiscard]] SplitWeights read_split_weights(const Reader& in);

/// Sequences [first, first + num) of an IndexedDataset.
struct SequenceRange {
  std::int64_t first = 0;
  std::int64_t num = 0;

  friend bool operator==(const SequenceRange&, const SequenceRange&) = default;
};

/// The split's share of `num_sequences`, in Megatron's arithmetic: cumulative fractions, rounded
/// half to even.
[[nodiscard]] SequenceRange split_range(const SplitWeights& weights,
                                        Split split,
                                        std::int64_t num_sequences);

}  // namespace runflat::exec

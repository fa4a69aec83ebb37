#pragma once

#include "sim/loss_counts.hpp"

#include <cstddef>
#include <optional>
#include <utility>
#include <vector>

namespace runflat::sim {

/// Answers to questions about a census. Of two censuses with the same place the later one stays, so
/// that the memory does not grow with the number of questions.
template <typename Answer>
class CensusCache {
 public:
  /// `ask(census)` where the answer is not known. The reference holds until the next call.
  template <typename Ask>
  [[nodiscard]] const Answer& find(const LossCounts& counts, const Ask& ask) {
    constexpr unsigned kShift = 64 - kBits;
    std::optional<Entry>& entry = entries_[counts.hash() * kMix >> kShift];
    if (!entry || !(entry->counts == counts)) {
      entry.emplace(Entry{counts, ask(counts.census())});
    }
    return entry->answer;
  }

 private:
  static constexpr unsigned kBits = 10;
  static constexpr std::uint64_t kMix = 0xd6e8feb86659fd93U;

  struct Entry {
    LossCounts counts;
    Answer answer;
  };
  std::vector<std::optional<Entry>> entries_{std::size_t{1} << kBits};
};

}  // namespace runflat::sim

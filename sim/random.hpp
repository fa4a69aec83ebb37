#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace runflat::sim {

/// What the numbers of a stream are for. Two purposes never share numbers, so that changing how
/// many are drawn for one (a different repair law, say) leaves the others as they were.
enum class Purpose : std::uint8_t {
  arrival,
  target,
  repair,
  placement,
  policy,
  node_rate,
  batch,
  batch_repair,
  recurrence,
  silence,
  drain,
};

/// Names a stream within a seed. `source` is whatever draws: a failure class, a component.
struct StreamId {
  std::uint32_t trial = 0;
  std::uint32_t source = 0;
  Purpose purpose = Purpose::arrival;

  friend bool operator==(const StreamId&, const StreamId&) = default;
};

/// One block of Philox4x32-10 (Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as
/// 1, 2, 3", SC 2011).
[[nodiscard]] std::array<std::uint32_t, 4> philox4x32(std::array<std::uint32_t, 4> counter,
                                                      std::array<std::uint32_t, 2> key);

/// A reproducible sequence of random numbers: a pure function of (seed, id), whichever thread reads
/// it and whatever other streams exist. Every platform with IEEE doubles sees the same bytes.
class RandomStream {
 public:
  RandomStream(std::uint64_t seed, StreamId id);

  [[nodiscard]] std::uint32_t bits32() {
    if (next_ == block_.size()) {
      refill();
    }
    return block_[next_++];
  }
  [[nodiscard]] std::uint64_t bits64() {
    const std::uint64_t high = bits32();
    return (high << 32U) | bits32();
  }

  /// Uniform on the open interval (0, 1), 52 bits.
  [[nodiscard]] double uniform() { return (static_cast<double>(bits64() >> 12U) + 0.5) * 0x1p-52; }
  /// Uniform on {0, ..., num_values - 1}, num_values >= 1, without bias.
  [[nodiscard]] std::uint32_t below(std::uint32_t num_values);
  /// Exponential with mean 1.
  [[nodiscard]] double exponential();
  /// Standard normal, by inversion: one uniform each.
  [[nodiscard]] double normal();
  /// Gamma with scale 1 and shape > 0 (Marsaglia and Tsang, ACM TOMS 26, 2000).
  [[nodiscard]] double gamma(double shape);

 private:
  void refill();

  std::array<std::uint32_t, 4> counter_;
  std::array<std::uint32_t, 2> key_;
  std::array<std::uint32_t, 4> block_{};
  std::size_t next_ = 4;
};

}  // namespace runflat::sim

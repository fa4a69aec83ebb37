#include "core/random_fault.hpp"

#include <array>
#include <cmath>
#include <initializer_list>
#include <random>
#include <vector>

namespace runflat {
namespace {

std::mt19937_64 bits_of(std::uint64_t seed, std::initializer_list<std::int64_t> numbers) {
  std::vector<std::uint32_t> words = {static_cast<std::uint32_t>(seed),
                                      static_cast<std::uint32_t>(seed >> 32)};
  for (const std::int64_t number : numbers) {
    words.push_back(static_cast<std::uint32_t>(number));
  }
  std::seed_seq sequence(words.begin(), words.end());
  return std::mt19937_64(sequence);
}

/// On the open interval (0, 1), 52 bits.
double uniform(std::mt19937_64& bits) {
  return (static_cast<double>(bits() >> 12U) + 0.5) * 0x1p-52;
}

/// Hides the last bits of a logarithm, in which platforms differ.
Seconds whole_milliseconds(Seconds time) {
  return Seconds(std::round(time.count() * 1000.0) / 1000.0);
}

}  // namespace

InjectedFault random_fault(std::uint64_t seed, std::int64_t number, const FaultRange& range) {
  std::mt19937_64 bits = bits_of(seed, {number});
  const auto below = [&](std::int64_t num) {
    return static_cast<std::int64_t>(bits() % static_cast<std::uint64_t>(num));
  };
  // Of 24 faults 17 kill; hangs, which cost a time-out each, are the fewest.
  constexpr std::array<FaultKind, 7> kOthers = {FaultKind::hang,
                                                FaultKind::slow,
                                                FaultKind::corrupt,
                                                FaultKind::nan,
                                                FaultKind::nan,
                                                FaultKind::drop_link,
                                                FaultKind::drop_link};
  const std::int64_t kind = below(24);
  InjectedFault fault;
  fault.kind = kind < 17 ? FaultKind::kill : kOthers[static_cast<std::size_t>(kind - 17)];
  fault.rank = below(range.num_ranks);
  fault.step = 1 + below(range.num_steps);
  const bool in_transition = fault.kind == FaultKind::kill && below(8) == 0;
  const auto first = in_transition ? FaultPlace::agreed : FaultPlace::op;
  const std::int64_t num_places = in_transition ? 5 : 6;
  fault.place = static_cast<FaultPlace>(static_cast<std::int64_t>(first) + below(num_places));
  if (!in_transition && below(2) == 0) {
    fault.place = below(2) == 0 ? FaultPlace::op : FaultPlace::operation;
  }
  if (fault.kind == FaultKind::nan || fault.kind == FaultKind::drop_link) {
    fault.place = FaultPlace::op;
  } else if (fault.kind == FaultKind::corrupt) {
    fault.place = FaultPlace::operation;
  }
  if (fault.place == FaultPlace::op) {
    fault.index = fault.kind == FaultKind::nan ? 0 : below(range.num_ops);
  } else if (fault.place == FaultPlace::operation) {
    fault.index = below(4 * range.num_ops);
  } else if (fault.place == FaultPlace::update || fault.place == FaultPlace::distribute) {
    fault.index = below(range.num_stages);
  }
  if (fault.kind == FaultKind::hang) {
    fault.seconds = range.hang_seconds;
  } else if (fault.kind == FaultKind::slow) {
    fault.seconds = 0.01;
  }
  const bool ends = fault.kind == FaultKind::kill || fault.kind == FaultKind::hang;
  fault.repair_steps = ends && below(2) == 0 ? 1 + below(3) : 0;
  if (range.most_time) {
    fault.step = 1;
    fault.index = 0;
    fault.time = whole_milliseconds(*range.most_time * uniform(bits));
  }
  return fault;
}

Seconds random_gap(std::uint64_t seed, std::int64_t number, Seconds mean) {
  std::mt19937_64 bits = bits_of(seed, {number, 1});
  return whole_milliseconds(-mean * std::log(uniform(bits)));
}

}  // namespace runflat

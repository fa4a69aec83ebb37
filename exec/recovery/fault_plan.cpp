#include "exec/recovery/fault_plan.hpp"

#include "core/error.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <fmt/format.h>
#include <map>
#include <random>

namespace runflat::exec {
namespace {

constexpr std::array<std::string_view, 7> kKindNames = {
    "kill", "stop", "hang", "slow", "nan", "corrupt", "drop_link"};
constexpr std::array<std::string_view, 12> kPlaceNames = {"op",
                                                          "reduction",
                                                          "decision",
                                                          "update",
                                                          "distribute",
                                                          "end",
                                                          "agreed",
                                                          "connected",
                                                          "moved",
                                                          "distributed",
                                                          "carried_out",
                                                          "operation"};
constexpr std::int64_t kMost = 1'000'000'000;

template <std::size_t N>
std::vector<std::string_view> all(const std::array<std::string_view, N>& names) {
  return {names.begin(), names.end()};
}

Fault read_fault(const Reader& in) {
  const auto count = [](const Reader& item) { return item.integer(0, kMost); };
  const auto seconds = [](const Reader& item) { return item.number(0.0, 1e9); };
  ObjectReader fields = in.object();
  Fault fault;
  fault.kind = static_cast<FaultKind>(fields.at("kind").choice(all(kKindNames)));
  fault.rank = fields.at("rank").integer(0, kMost);
  fault.step = fields.at("step").integer(1, kMost);
  fault.place = read_or(fields, "at", fault.place, [](const Reader& item) {
    return static_cast<FaultPlace>(item.choice(all(kPlaceNames)));
  });
  fault.index = read_or(fields, "index", fault.index, count);
  fault.seconds = read_or(fields, "seconds", fault.seconds, seconds);
  fault.repair_steps = read_or(fields, "repair_steps", fault.repair_steps, count);
  fields.finish();
  const bool lasts = fault.kind == FaultKind::hang || fault.kind == FaultKind::slow;
  if (lasts != (fault.seconds > 0.0)) {
    in.reject(lasts ? "a hang or a slow rank needs seconds" : "only hang and slow have seconds");
  }
  return fault;
}

/// `name=value` as TOML would have it: a number where it is one.
Value value_of(std::string_view text) {
  std::int64_t integer = 0;
  const char* end = text.data() + text.size();
  if (const auto [stop, error] = std::from_chars(text.data(), end, integer);
      error == std::errc() && stop == end) {
    return integer;
  }
  double number = 0.0;
  if (const auto [stop, error] = std::from_chars(text.data(), end, number);
      error == std::errc() && stop == end) {
    return number;
  }
  return std::string(text);
}

void append_random(const Reader& in, std::vector<Fault>& faults) {
  ObjectReader fields = in.object();
  const std::int64_t num = fields.at("num").integer(1, kMost);
  const auto seed = static_cast<std::uint64_t>(fields.at("seed").integer(0));
  const FaultRange range{.num_ranks = fields.at("ranks").integer(1, kMost),
                         .num_steps = fields.at("steps").integer(1, kMost)};
  fields.finish();
  for (std::int64_t i = 0; i < num; ++i) {
    faults.push_back(random_fault(seed, i, range));
  }
}

}  // namespace

std::string_view name_of(FaultKind kind) {
  return kKindNames[static_cast<std::size_t>(kind)];
}

std::string_view name_of(FaultPlace place) {
  return kPlaceNames[static_cast<std::size_t>(place)];
}

std::string to_text(const Fault& fault) {
  std::string text = fmt::format("{} rank={} step={} at={} index={}",
                                 name_of(fault.kind),
                                 fault.rank,
                                 fault.step,
                                 name_of(fault.place),
                                 fault.index);
  if (fault.seconds > 0.0) {
    text += fmt::format(" seconds={}", fault.seconds);
  }
  if (fault.repair_steps > 0) {
    text += fmt::format(" repair_steps={}", fault.repair_steps);
  }
  return text;
}

Fault parse_fault(std::string_view text) {
  Value::Object fields;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find(' ', begin), text.size());
    const std::string_view word = text.substr(begin, end - begin);
    begin = end + 1;
    if (word.empty()) {
      continue;
    }
    const std::size_t equals = word.find('=');
    if (fields.empty()) {
      fields.emplace_back("kind", std::string(word));
    } else if (equals != std::string_view::npos) {
      fields.emplace_back(std::string(word.substr(0, equals)), value_of(word.substr(equals + 1)));
    } else {
      throw ParseError(text, word, "expected name=value");
    }
  }
  const Value value(std::move(fields));
  return read_fault(Reader(value, text));
}

std::vector<Fault> read_faults(const Reader& in) {
  ObjectReader fields = in.object();
  static_cast<void>(fields.at("schema").integer(1, 1));
  std::vector<Fault> faults;
  if (const auto list = fields.find("fault")) {
    for (const Reader& item : list->items()) {
      faults.push_back(read_fault(item));
    }
  }
  if (const auto list = fields.find("random")) {
    for (const Reader& item : list->items()) {
      append_random(item, faults);
    }
  }
  fields.finish();
  return faults;
}

Fault random_fault(std::uint64_t seed, std::int64_t number, const FaultRange& range) {
  std::seed_seq sequence{seed & 0xffffffffU, seed >> 32, static_cast<std::uint64_t>(number)};
  std::mt19937_64 bits(sequence);
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
  Fault fault;
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
  return fault;
}

}  // namespace runflat::exec

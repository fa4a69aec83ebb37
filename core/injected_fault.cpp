#include "core/injected_fault.hpp"

#include "core/error.hpp"
#include "core/random_fault.hpp"
#include "core/value.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <fmt/format.h>

namespace runflat {
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
constexpr double kMostSeconds = 1e9;

template <std::size_t N>
std::vector<std::string_view> all(const std::array<std::string_view, N>& names) {
  return {names.begin(), names.end()};
}

/// When it strikes.
void read_moment(ObjectReader& fields, InjectedFault& fault) {
  if (const auto time = fields.find("time_s")) {
    fault.time = Seconds(time->number(0.0, kMostSeconds));
    if (fields.find("step") || fields.find("index")) {
      fields.place().reject("a fault with time_s has neither step nor index");
    }
    return;
  }
  fault.step = fields.at("step").integer(1, kMost);
  fault.index = read_or(
      fields, "index", fault.index, [](const Reader& item) { return item.integer(0, kMost); });
}

InjectedFault read_fault(const Reader& in) {
  ObjectReader fields = in.object();
  InjectedFault fault;
  fault.kind = static_cast<FaultKind>(fields.at("kind").choice(all(kKindNames)));
  fault.rank = fields.at("rank").integer(0, kMost);
  read_moment(fields, fault);
  fault.place = read_or(fields, "at", fault.place, [](const Reader& item) {
    return static_cast<FaultPlace>(item.choice(all(kPlaceNames)));
  });
  fault.seconds = read_or(fields, "seconds", fault.seconds, [](const Reader& item) {
    return item.number(0.0, kMostSeconds);
  });
  fault.repair_steps = read_or(fields, "repair_steps", fault.repair_steps, [](const Reader& item) {
    return item.integer(0, kMost);
  });
  fields.finish();
  const bool lasts = fault.kind == FaultKind::hang || fault.kind == FaultKind::slow;
  if (lasts != (fault.seconds > 0.0)) {
    in.reject(lasts ? "a hang or a slow rank needs seconds" : "only hang and slow have seconds");
  }
  const bool is_of_step = fault.kind == FaultKind::nan || fault.kind == FaultKind::drop_link;
  if (is_of_step && fault.place > FaultPlace::end) {
    in.reject("nan and drop_link strike at places of a step");
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

void append_random(const Reader& in, std::vector<InjectedFault>& faults) {
  ObjectReader fields = in.object();
  const std::int64_t num = fields.at("num").integer(1, kMost);
  const auto seed = static_cast<std::uint64_t>(fields.at("seed").integer(0));
  FaultRange range{.num_ranks = fields.at("ranks").integer(1, kMost)};
  const auto steps = fields.find("steps");
  const auto most_time = fields.find("time_s");
  const auto mean_gap = fields.find("mtbf_s");
  if (int{steps.has_value()} + int{most_time.has_value()} + int{mean_gap.has_value()} != 1) {
    in.reject("expected one of steps, time_s and mtbf_s");
  }
  if (steps) {
    range.num_steps = steps->integer(1, kMost);
  } else {
    range.most_time = Seconds((most_time ? *most_time : *mean_gap).number(1e-3, kMostSeconds));
  }
  fields.finish();
  Seconds last{};
  for (std::int64_t i = 0; i < num; ++i) {
    InjectedFault fault = random_fault(seed, i, range);
    if (mean_gap) {
      last += random_gap(seed, i, *range.most_time);
      fault.time = last;
    }
    faults.push_back(fault);
  }
}

}  // namespace

std::string_view name_of(FaultKind kind) {
  return kKindNames[static_cast<std::size_t>(kind)];
}

std::string_view name_of(FaultPlace place) {
  return kPlaceNames[static_cast<std::size_t>(place)];
}

std::string to_text(const InjectedFault& fault) {
  std::string text = fmt::format("{} rank={}", name_of(fault.kind), fault.rank);
  if (fault.time) {
    text += fmt::format(" time_s={} at={}", fault.time->count(), name_of(fault.place));
  } else {
    text += fmt::format(" step={} at={} index={}", fault.step, name_of(fault.place), fault.index);
  }
  if (fault.seconds > 0.0) {
    text += fmt::format(" seconds={}", fault.seconds);
  }
  if (fault.repair_steps > 0) {
    text += fmt::format(" repair_steps={}", fault.repair_steps);
  }
  return text;
}

InjectedFault parse_fault(std::string_view text) {
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

std::vector<InjectedFault> read_faults(const Reader& in) {
  ObjectReader fields = in.object();
  static_cast<void>(fields.at("schema").integer(1, 1));
  std::vector<InjectedFault> faults;
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

}  // namespace runflat

#include "sim/span_reader.hpp"

#include <array>
#include <fmt/format.h>
#include <string>

namespace runflat::sim {
namespace {

struct Unit {
  std::string_view name;
  double seconds;
};
constexpr std::array<Unit, 4> kUnits{
    {{"seconds", 1.0}, {"minutes", 60.0}, {"hours", 3600.0}, {"days", 86400.0}}};

}  // namespace

std::optional<Seconds> find_span(ObjectReader& in, std::string_view stem) {
  std::optional<Seconds> span;
  for (const Unit& unit : kUnits) {
    const std::optional<Reader> member = in.find(fmt::format("{}_{}", stem, unit.name));
    if (!member) {
      continue;
    }
    if (span) {
      member->reject(fmt::format("expected {} in one unit only", stem));
    }
    span = Seconds{member->number(0.0) * unit.seconds};
  }
  return span;
}

Seconds read_span(ObjectReader& in, std::string_view stem) {
  const std::optional<Seconds> span = find_span(in, stem);
  if (!span) {
    in.place().reject(fmt::format("expected {}_seconds, _minutes, _hours or _days", stem));
  }
  return *span;
}

Seconds read_positive_span(ObjectReader& in, std::string_view stem) {
  const Seconds span = read_span(in, stem);
  if (span <= Seconds::zero()) {
    in.place().reject(fmt::format("expected {} above 0", stem));
  }
  return span;
}

}  // namespace runflat::sim

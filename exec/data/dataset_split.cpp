#include "exec/data/dataset_split.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>

namespace runflat::exec {
namespace {

std::optional<double> weight_of(std::string_view text) {
  text.remove_prefix(std::min(text.find_first_not_of(' '), text.size()));
  text.remove_suffix(text.size() - (text.find_last_not_of(' ') + 1));
  double weight = 0.0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), weight);
  const bool whole = error == std::errc() && end == text.data() + text.size();
  return whole && std::isfinite(weight) && weight >= 0.0 ? std::optional(weight) : std::nullopt;
}

}  // namespace

SplitWeights read_split_weights(const Reader& in) {
  constexpr std::string_view kExpected =
      "one to three numbers of at least 0, not all 0, between commas, as \"969, 30, 1\"";
  const std::string text = in.text();
  SplitWeights weights{};
  double sum = 0.0;
  std::size_t begin = 0;
  for (std::size_t i = 0; begin <= text.size(); ++i) {
    const std::size_t end = std::min(text.find(',', begin), text.size());
    const std::optional<double> weight =
        weight_of(std::string_view(text).substr(begin, end - begin));
    if (i == weights.size() || !weight) {
      in.fail(kExpected);
    }
    weights[i] = *weight;
    sum += *weight;
    begin = end + 1;
  }
  if (!(sum > 0.0) || !std::isfinite(sum)) {
    in.fail(kExpected);
  }
  return weights;
}

SequenceRange split_range(const SplitWeights& weights, Split split, std::int64_t num_sequences) {
  const double sum = weights[0] + weights[1] + weights[2];
  double begin = 0.0;
  for (std::size_t i = 0; i < static_cast<std::size_t>(split); ++i) {
    begin += weights[i] / sum;
  }
  const double end = begin + weights[static_cast<std::size_t>(split)] / sum;
  const auto bound = [num_sequences](double fraction) {
    return static_cast<std::int64_t>(std::nearbyint(fraction * static_cast<double>(num_sequences)));
  };
  return {.first = bound(begin), .num = bound(end) - bound(begin)};
}

}  // namespace runflat::exec

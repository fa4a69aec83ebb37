#include "core/training.hpp"

#include <string_view>
#include <vector>

namespace runflat {
namespace {

const std::vector<std::string_view>& precisions() {
  static const std::vector<std::string_view> names = {"fp16", "bf16", "fp8", "fp32"};
  return names;
}

const std::vector<std::string_view>& recomputes() {
  static const std::vector<std::string_view> names = {"none", "selective", "full"};
  return names;
}

}  // namespace

TrainingSpec read_training(ObjectReader& members) {
  constexpr std::int64_t kMost = 1 << 30;
  TrainingSpec training;
  training.micro_batch_size = members.at("micro_batch_size").integer(1, kMost);
  training.global_batch_size = members.at("global_batch_size").integer(1, kMost);
  training.precision = read_or(members, "precision", training.precision, [](const Reader& item) {
    return static_cast<Precision>(item.choice(precisions()));
  });
  training.recompute = read_or(members, "recompute", training.recompute, [](const Reader& item) {
    return static_cast<Recompute>(item.choice(recomputes()));
  });
  training.zero_stage = read_or(members, "zero_stage", training.zero_stage, [](const Reader& item) {
    return item.integer(0, 3);
  });
  training.sequence_parallel =
      read_or(members, "sequence_parallel", training.sequence_parallel, &Reader::boolean);
  return training;
}

TrainingSpec read_training(const Reader& in) {
  ObjectReader members = in.object();
  const TrainingSpec training = read_training(members);
  members.finish();
  return training;
}

Value to_value(const TrainingSpec& training) {
  return Value::Object{
      {"micro_batch_size", training.micro_batch_size},
      {"global_batch_size", training.global_batch_size},
      {"precision", std::string(precisions()[static_cast<std::size_t>(training.precision)])},
      {"recompute", std::string(recomputes()[static_cast<std::size_t>(training.recompute)])},
      {"zero_stage", training.zero_stage},
      {"sequence_parallel", training.sequence_parallel}};
}

}  // namespace runflat

#include "exec/training/model_chunk.hpp"

#include "core/error.hpp"
#include "exec/device/host_device.hpp"
#include "tests/catch.hpp"
#include "tests/exec/checkpoint_files.hpp"
#include "tests/exec/training_run.hpp"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <map>
#include <optional>
#include <string>
#include <vector>

using namespace runflat;
using namespace runflat::exec;
using namespace runflat::tests;

namespace {

constexpr std::int64_t kBatch = 2;

ModelSpec small(ModelSpec model) {
  model.num_layers = 2;
  model.hidden_size = 16;
  model.ffn_hidden_size = 24;
  model.num_attention_heads = 4;
  model.num_query_groups = model.learned_positions ? 4 : 2;
  model.seq_length = 8;
  model.padded_vocab_size = 32;
  return model;
}

/// Weights far from those that training starts with, so that nothing is nearly linear: of standard
/// deviation 0.3, gains around 1. Numbers of fp32 in any type.
std::vector<float> weights_of(Device& device, const StageParam& param) {
  std::vector<float> weights(static_cast<std::size_t>(param.spec.num_elements()));
  device.random_normal({.dst = weights.data(),
                        .num = param.spec.num_elements(),
                        .first = 0,
                        .seed = 42,
                        .stream_id = stream_of(param.name),
                        .mean = param.initial.mean,
                        .std = 0.3,
                        .type = DataType::fp32});
  return weights;
}

/// Records of `> name n` and n numbers.
std::map<std::string, std::vector<double>> read_golden(const std::string& name) {
  std::ifstream in(std::string(RUNFLAT_SOURCE_DIR) + "/tests/golden/" + name);
  std::map<std::string, std::vector<double>> records;
  std::string word;
  while (in >> word) {
    if (word != ">") {
      std::getline(in, word);  // a comment
      continue;
    }
    std::size_t num = 0;
    in >> word >> num;
    std::vector<double>& numbers = records[word];
    numbers.resize(num);
    for (double& number : numbers) {
      in >> number;
    }
  }
  REQUIRE(in.eof());
  REQUIRE(!records.empty());
  return records;
}

StagePlace place_of(const ModelSpec& model, DataType type) {
  StagePlace place;
  place.model = model;
  place.type = type;
  return place;
}

/// A whole model on one rank.
class OneRank {
 public:
  OneRank(const ModelSpec& model, DataType type)
      : type_(type),
        state_(device_, place_of(model, type)),
        tp_(nullptr, make_token_shape(model.seq_length, kBatch, 1, false), type),
        layers_(device_, tp_, make_layer_shape(model, 1, 1, TpRank(0), type), Recompute::none) {
    if (!model.learned_positions) {
      layers_.set_rotary(10000.0);
    }
    for (const StageParam& param : state_.params()) {
      std::vector<float> weights = weights_of(device_, param);
      device_.cast({.src = weights.data(),
                    .dst = state_.find(param.name).weight,
                    .num = param.spec.num_elements(),
                    .src_type = DataType::fp32,
                    .dst_type = type});
    }
    chunk_.emplace(device_, tp_, layers_, state_);
  }

  using Numbers = std::map<std::string, std::vector<double>>;

  /// Logits, losses, and the gradients of their sum.
  Numbers run(const Numbers& inputs) {
    Microbatch batch{.ids = as<std::int32_t>(inputs.at("ids")),
                     .targets = as<std::int32_t>(inputs.at("targets")),
                     .loss_mask = as<float>(inputs.at("loss_mask")),
                     .losses = device_.allocate(tp_.tokens().tokens() * 8)};
    ChunkActivations act = chunk_->make_activations();
    Numbers out;
    out["logits"] = numbers(chunk_->predict(batch, act).data(), inputs.at("logits").size());
    state_.zero_grads();
    chunk_->forward(batch, act, true);
    chunk_->backward(batch, act, true, [](std::size_t) {});
    out["losses"] = numbers(batch.losses.data(), inputs.at("losses").size());
    for (const StageParam& param : state_.params()) {
      const ParamRef ref = state_.find(param.name);
      out[param.name] = numbers(ref.grad, static_cast<std::size_t>(ref.num));
    }
    return out;
  }

 private:
  template <typename T>
  Buffer as(const std::vector<double>& values) {
    std::vector<T> converted;
    for (const double value : values) {
      converted.push_back(static_cast<T>(value));
    }
    const auto bytes = static_cast<std::int64_t>(converted.size() * sizeof(T));
    Buffer buffer = device_.allocate(bytes);
    device_.copy_in(buffer.data(), converted.data(), bytes);
    return buffer;
  }

  std::vector<double> numbers(const void* data, std::size_t num) {
    std::vector<double> values(num);
    device_.cast({.src = data,
                  .dst = values.data(),
                  .num = static_cast<std::int64_t>(num),
                  .src_type = type_,
                  .dst_type = DataType::fp64});
    return values;
  }

  HostDevice device_;
  DataType type_;
  StageState state_;
  TensorParallel tp_;
  LayerRunner layers_;
  std::optional<ModelChunk> chunk_;
};

/// The largest difference over the largest number.
double difference(const std::vector<double>& a, const std::vector<double>& b) {
  double most = 0.0;
  double largest = 0.0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    most = std::max(most, std::abs(a[i] - b[i]));
    largest = std::max(largest, std::abs(b[i]));
  }
  return most / largest;
}

}  // namespace

// The golden files are made by tests/golden/make_hf_golden.py, which says how.
TEST_CASE("one rank agrees with Hugging Face's models", "[exec][model_chunk]") {
  const ModelSpec model = small(GENERATE(tiny_llama(), tiny_gpt()));
  const auto golden = read_golden("hf_" + model.name + ".txt");
  // In fp64 what is left is the golden's rounding, and that RoPE's tables are fp32's there.
  const auto [type, tolerance] =
      GENERATE(std::pair(DataType::fp32, 1e-5), std::pair(DataType::fp64, 1e-6));
  const auto numbers = OneRank(model, type).run(golden);
  CHECK(golden.size() == numbers.size() + 3);  // the inputs
  for (const auto& [name, values] : numbers) {
    CAPTURE(model.name, name, static_cast<int>(type));
    REQUIRE(golden.at(name).size() == values.size());
    CHECK(difference(values, golden.at(name)) <= tolerance);
  }
}

TEST_CASE("write the models of the golden files", "[.golden-models]") {
  const char* folder = std::getenv("RUNFLAT_GOLDEN_MODELS");
  REQUIRE(folder != nullptr);
  for (const ModelSpec& model : {small(tiny_llama()), small(tiny_gpt())}) {
    run_on_host(1, [&](Device& device, Transport& transport) {
      CheckpointHeader header{.progress = {}, .model = model};
      header.has_moments = false;
      StateCopy state;
      for (const StageParam& param : stage_params(model, {}, PpRank(0), 0)) {
        const std::vector<float> weights = weights_of(device, param);
        const auto bytes = std::as_bytes(std::span(weights));
        state.ranges.push_back({param.name, {0, param.spec.num_elements()}});
        state.bytes.insert(state.bytes.end(), bytes.begin(), bytes.end());
      }
      Checkpointer checkpointer(transport,
                                ParallelLayout::uniform({}),
                                {.folder = std::filesystem::path(folder) / model.name});
      checkpointer.save(header, std::move(state));
      checkpointer.wait();
    });
  }
}

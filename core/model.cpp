#include "core/model.hpp"

#include "core/error.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <functional>
#include <numeric>

namespace runflat {
namespace {

std::int64_t count(const Reader& in) {
  return in.integer(1, std::int64_t{1} << 40);
}

std::int64_t round_up(std::int64_t n, std::int64_t multiple) {
  return (n + multiple - 1) / multiple * multiple;
}

UnitSharding shard(UnitKind kind,
                   std::int64_t dim,
                   std::int64_t num_units,
                   std::int64_t unit_size) {
  return {.kind = kind, .dim = dim, .num_units = num_units, .unit_size = unit_size, .bases = {0}};
}

ParamSpec param(std::string name,
                std::vector<std::int64_t> shape,
                std::optional<UnitSharding> over_tp = {}) {
  ParamSpec spec;
  spec.name = std::move(name);
  spec.shape = std::move(shape);
  spec.over_tp = std::move(over_tp);
  return spec;
}

/// One gain, and one bias under LayerNorm.
void add_norm(const ModelSpec& model, const std::string& name, std::vector<ParamSpec>& params) {
  params.push_back(param(name + ".weight", {model.hidden_size}));
  if (!model.rms_norm) {
    params.push_back(param(name + ".bias", {model.hidden_size}));
  }
}

void add_attention(const ModelSpec& model, std::vector<ParamSpec>& params) {
  const std::int64_t groups = model.num_query_groups;
  const std::int64_t heads_per_group = model.num_attention_heads / groups;
  const std::int64_t rows_per_group = (heads_per_group + 2) * model.kv_channels;
  const auto qkv = shard(UnitKind::kv_group, 0, groups, rows_per_group);
  params.push_back(
      param("self_attention.linear_qkv.weight", {groups * rows_per_group, model.hidden_size}, qkv));
  if (model.add_bias_linear) {
    params.push_back(param("self_attention.linear_qkv.bias", {groups * rows_per_group}, qkv));
  }
  params.push_back(
      param("self_attention.linear_proj.weight",
            {model.hidden_size, model.query_size()},
            shard(UnitKind::kv_group, 1, groups, heads_per_group * model.kv_channels)));
  if (model.add_bias_linear) {
    params.push_back(param("self_attention.linear_proj.bias", {model.hidden_size}));
  }
}

UnitSharding fc1_units(const ModelSpec& model, std::int64_t dim, std::int64_t ffn) {
  UnitSharding units = shard(UnitKind::ffn_column, dim, ffn, 1);
  if (model.gated_linear_unit) {
    units.bases.push_back(ffn);
  }
  return units;
}

void add_mlp(const ModelSpec& model, std::vector<ParamSpec>& params) {
  const std::int64_t ffn = model.ffn_hidden_size;
  const std::int64_t fc1_rows = model.gated_linear_unit ? 2 * ffn : ffn;
  params.push_back(
      param("mlp.linear_fc1.weight", {fc1_rows, model.hidden_size}, fc1_units(model, 0, ffn)));
  if (model.add_bias_linear) {
    params.push_back(param("mlp.linear_fc1.bias", {fc1_rows}, fc1_units(model, 0, ffn)));
  }
  params.push_back(param(
      "mlp.linear_fc2.weight", {model.hidden_size, ffn}, shard(UnitKind::ffn_column, 1, ffn, 1)));
  if (model.add_bias_linear) {
    params.push_back(param("mlp.linear_fc2.bias", {model.hidden_size}));
  }
}

void add_experts(const ModelSpec& model, std::vector<ParamSpec>& params) {
  const std::int64_t experts = model.num_experts;
  const std::int64_t ffn = model.moe_ffn_hidden_size;
  const std::int64_t fc1_rows = model.gated_linear_unit ? 2 * ffn : ffn;
  params.push_back(param("mlp.router.weight", {experts, model.hidden_size}));
  ParamSpec fc1 = param("mlp.experts.linear_fc1.weight",
                        {experts, fc1_rows, model.hidden_size},
                        fc1_units(model, 1, ffn));
  ParamSpec fc2 = param("mlp.experts.linear_fc2.weight",
                        {experts, model.hidden_size, ffn},
                        shard(UnitKind::ffn_column, 2, ffn, 1));
  fc1.over_ep = shard(UnitKind::expert, 0, experts, 1);
  fc2.over_ep = fc1.over_ep;
  params.push_back(std::move(fc1));
  params.push_back(std::move(fc2));
}

std::int64_t num_stored(const std::vector<ParamSpec>& params) {
  std::int64_t total = 0;
  for (const ParamSpec& spec : params) {
    total += spec.tied_to_embedding ? 0 : spec.num_elements();
  }
  return total;
}

/// Weights without norms and biases, in floating point: finite for any counts.
double rough_num_parameters(const ModelSpec& model) {
  const auto real = [](std::int64_t n) { return static_cast<double>(n); };
  const double query = real(model.num_attention_heads) * real(model.kv_channels);
  const double kv = real(model.num_query_groups) * real(model.kv_channels);
  const double ffn = std::max(real(model.ffn_hidden_size),
                              real(model.num_experts) * real(model.moe_ffn_hidden_size));
  const double layer = 2.0 * query + 2.0 * kv + 3.0 * ffn + real(model.num_experts);
  return real(model.hidden_size) * (real(model.num_layers) * layer + real(model.seq_length) +
                                    2.0 * real(model.padded_vocab_size));
}

void check_model(const ModelSpec& model, const Reader& in) {
  constexpr double kMostParameters = 1e16;  // far from the end of 64-bit counts
  if (rough_num_parameters(model) > kMostParameters) {
    in.reject(fmt::format("about {:.1e} parameters, expected at most {:.0e}",
                          rough_num_parameters(model),
                          kMostParameters));
  }
  if (model.num_attention_heads % model.num_query_groups != 0) {
    in.reject(fmt::format("num_attention_heads {} is not divisible by num_query_groups {}",
                          model.num_attention_heads,
                          model.num_query_groups));
  }
  if ((model.family == ModelFamily::moe) != (model.num_experts > 0)) {
    in.reject("num_experts goes with family = \"moe\", and family = \"moe\" needs it");
  }
  if (model.num_experts == 0 && model.moe_ffn_hidden_size > 0) {
    in.reject("moe_ffn_hidden_size goes with num_experts");
  }
  if (model.moe_router_topk > model.num_experts) {
    in.reject(fmt::format("moe_router_topk {} is more than num_experts {}",
                          model.moe_router_topk,
                          model.num_experts));
  }
}

void read_experts(ObjectReader& members, ModelSpec& model) {
  model.num_experts = read_or(members, "num_experts", std::int64_t{0}, count);
  model.moe_ffn_hidden_size = read_or(
      members, "moe_ffn_hidden_size", model.num_experts > 0 ? model.ffn_hidden_size : 0, count);
  model.moe_router_topk =
      read_or(members, "moe_router_topk", std::int64_t{model.num_experts > 0 ? 2 : 0}, count);
}

void read_vocabulary(ObjectReader& members, ModelSpec& model) {
  constexpr std::int64_t kMultiple = 128;  // Megatron's make_vocab_size_divisible_by
  const std::int64_t vocab_size = read_or(members, "vocab_size", std::int64_t{0}, count);
  const std::optional<Reader> padded = members.find("padded_vocab_size");
  model.padded_vocab_size = padded ? count(*padded) : round_up(vocab_size, kMultiple);
  if (model.padded_vocab_size < std::max<std::int64_t>(vocab_size, 1)) {
    members.place().reject("needs vocab_size, or a padded_vocab_size of at least vocab_size");
  }
}

}  // namespace

ModelSpec read_model(const Reader& in) {
  const auto flag = &Reader::boolean;
  ObjectReader members = in.object();
  ModelSpec model;
  model.name = members.at("name").text();
  model.family = static_cast<ModelFamily>(members.at("family").choice({"gpt", "llama", "moe"}));
  const bool modern = model.family != ModelFamily::gpt;
  model.num_layers = count(members.at("num_layers"));
  model.hidden_size = count(members.at("hidden_size"));
  model.ffn_hidden_size = modern
                              ? count(members.at("ffn_hidden_size"))
                              : read_or(members, "ffn_hidden_size", 4 * model.hidden_size, count);
  model.num_attention_heads = count(members.at("num_attention_heads"));
  model.num_query_groups = read_or(members, "num_query_groups", model.num_attention_heads, count);
  if (members.find("kv_channels") == std::nullopt &&
      model.hidden_size % model.num_attention_heads != 0) {
    in.reject(fmt::format("hidden_size {} is not divisible by num_attention_heads {}",
                          model.hidden_size,
                          model.num_attention_heads));
  }
  model.kv_channels =
      read_or(members, "kv_channels", model.hidden_size / model.num_attention_heads, count);
  model.seq_length = count(members.at("seq_length"));
  read_vocabulary(members, model);
  model.gated_linear_unit = read_or(members, "gated_linear_unit", modern, flag);
  model.rms_norm = read_or(members, "rms_norm", modern, flag);
  model.learned_positions = read_or(members, "learned_positions", !modern, flag);
  model.add_bias_linear = read_or(members, "add_bias_linear", !modern, flag);
  model.untie_embeddings_and_output_weights =
      read_or(members, "untie_embeddings_and_output_weights", modern, flag);
  read_experts(members, model);
  members.finish();
  check_model(model, in);
  return model;
}

Value to_value(const ModelSpec& model) {
  static const char* const kFamilies[] = {"gpt", "llama", "moe"};
  Value out = Value::Object{
      {"name", model.name},
      {"family", kFamilies[static_cast<std::size_t>(model.family)]},
      {"num_layers", model.num_layers},
      {"hidden_size", model.hidden_size},
      {"ffn_hidden_size", model.ffn_hidden_size},
      {"num_attention_heads", model.num_attention_heads},
      {"num_query_groups", model.num_query_groups},
      {"kv_channels", model.kv_channels},
      {"seq_length", model.seq_length},
      {"padded_vocab_size", model.padded_vocab_size},
      {"gated_linear_unit", model.gated_linear_unit},
      {"rms_norm", model.rms_norm},
      {"learned_positions", model.learned_positions},
      {"add_bias_linear", model.add_bias_linear},
      {"untie_embeddings_and_output_weights", model.untie_embeddings_and_output_weights}};
  if (model.num_experts > 0) {
    out.set("num_experts", model.num_experts);
    out.set("moe_ffn_hidden_size", model.moe_ffn_hidden_size);
    out.set("moe_router_topk", model.moe_router_topk);
  }
  return out;
}

std::string to_string(UnitKind kind) {
  switch (kind) {
    case UnitKind::kv_group:
      return "kv_group";
    case UnitKind::ffn_column:
      return "ffn_column";
    case UnitKind::vocab_row:
      return "vocab_row";
    case UnitKind::expert:
      return "expert";
  }
  return {};
}

std::int64_t ModelSpec::num_parameters() const {
  return num_layers * num_stored(layer_params(*this)) + num_stored(outer_params(*this));
}

double ModelSpec::flops_per_sequence() const {
  const auto real = [](std::int64_t n) { return static_cast<double>(n); };
  const double h = real(hidden_size);
  const double attention = h * real(query_size() + 2 * kv_size()) + real(query_size()) * h;
  const double matrices = gated_linear_unit ? 3.0 : 2.0;
  const double mlp = num_experts > 0 ? h * real(moe_ffn_hidden_size * moe_router_topk) * matrices +
                                           h * real(num_experts)
                                     : h * real(ffn_hidden_size) * matrices;
  const double s = real(seq_length);
  const double layers = real(num_layers);
  return 6.0 * s * (layers * (attention + mlp) + h * real(padded_vocab_size)) +
         6.0 * s * s * real(query_size()) * layers;
}

std::int64_t ParamSpec::num_elements() const {
  return std::accumulate(shape.begin(), shape.end(), std::int64_t{1}, std::multiplies<>());
}

UnitBox ParamSpec::unit_box(std::int64_t unit) const {
  require(over_tp.has_value(), name + " is not divided over tp");
  require(unit >= 0 && unit < over_tp->num_units, name + " has no such unit");
  const auto dim = static_cast<std::size_t>(over_tp->dim);
  std::int64_t inner = 1;
  for (std::size_t d = dim + 1; d < shape.size(); ++d) {
    inner *= shape[d];
  }
  UnitBox box;
  box.stride = shape[dim] * inner;
  box.num_blocks = num_elements() / box.stride;
  box.block_size = over_tp->unit_size * inner;
  for (const std::int64_t base : over_tp->bases) {
    box.first.push_back((base + unit * over_tp->unit_size) * inner);
  }
  return box;
}

std::vector<ParamSpec> layer_params(const ModelSpec& model) {
  std::vector<ParamSpec> params;
  add_norm(model, "input_layernorm", params);
  add_attention(model, params);
  add_norm(model, "pre_mlp_layernorm", params);
  if (model.num_experts > 0) {
    add_experts(model, params);
  } else {
    add_mlp(model, params);
  }
  return params;
}

std::vector<ParamSpec> outer_params(const ModelSpec& model) {
  const auto vocab = shard(UnitKind::vocab_row, 0, model.padded_vocab_size, 1);
  const std::vector<std::int64_t> shape = {model.padded_vocab_size, model.hidden_size};
  std::vector<ParamSpec> params = {param("embedding.word_embeddings.weight", shape, vocab)};
  if (model.learned_positions) {
    params.push_back(
        param("embedding.position_embeddings.weight", {model.seq_length, model.hidden_size}));
  }
  const auto first_of_head = static_cast<std::ptrdiff_t>(params.size());
  add_norm(model, "final_layernorm", params);
  params.push_back(param("output_layer.weight", shape, vocab));
  params.back().tied_to_embedding = !model.untie_embeddings_and_output_weights;
  for (auto spec = params.begin(); spec != params.end(); ++spec) {
    spec->place = spec - params.begin() < first_of_head ? ParamPlace::embedding : ParamPlace::head;
  }
  return params;
}

}  // namespace runflat

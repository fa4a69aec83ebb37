#include "core/model.hpp"

#include "core/document.hpp"
#include "core/error.hpp"
#include "tests/catch.hpp"
#include "tests/dice.hpp"

#include <numeric>

using namespace runflat;

namespace {

struct Shape {
  std::int64_t layers, hidden, ffn, heads, groups, vocab, seq;
};

ModelSpec read(const std::string& toml) {
  const Value value = parse_toml(toml, "a.toml");
  return read_model(Reader(value, "a.toml", "model"));
}

std::string error_of(const std::string& toml) {
  try {
    (void)read(toml);
  } catch (const ParseError& error) {
    return error.what();
  }
  return "no error";
}

/// Through the reader, so that a family's defaults are tested too.
ModelSpec model(const std::string& family, const Shape& shape, const std::string& more = "") {
  const auto line = [](const std::string& key, std::int64_t n) {
    return key + " = " + std::to_string(n) + "\n";
  };
  return read("name = 'm'\nfamily = '" + family + "'\n" + line("num_layers", shape.layers) +
              line("hidden_size", shape.hidden) + line("ffn_hidden_size", shape.ffn) +
              line("num_attention_heads", shape.heads) + line("num_query_groups", shape.groups) +
              line("padded_vocab_size", shape.vocab) + line("seq_length", shape.seq) + more);
}

const std::string kTied = "untie_embeddings_and_output_weights = false\n";
const std::string kMixtral = "num_experts = 8\nmoe_router_topk = 2\n";

ModelSpec random_model(tests::Dice& dice) {
  const std::vector<std::string> families = {"gpt", "llama", "moe"};
  const std::string family = dice.pick(families);
  const std::int64_t groups = dice.between(1, 4);
  const std::int64_t heads = groups * dice.between(1, 3);
  const Shape shape = {dice.between(1, 3),
                       heads * dice.between(1, 3),
                       dice.between(1, 9),
                       heads,
                       groups,
                       dice.between(1, 12),
                       dice.between(1, 8)};
  std::string more;
  if (family == "moe") {
    more += "num_experts = " + std::to_string(dice.between(1, 5)) + "\nmoe_router_topk = 1\n";
    more += dice.one_in(2) ? "moe_ffn_hidden_size = 5\n" : "";
  }
  for (const char* const key : {"gated_linear_unit",
                                "rms_norm",
                                "learned_positions",
                                "add_bias_linear",
                                "untie_embeddings_and_output_weights"}) {
    if (dice.one_in(3)) {
      more += std::string(key) + (dice.one_in(2) ? " = true\n" : " = false\n");
    }
  }
  return model(family, shape, more + (dice.one_in(3) ? "kv_channels = 3\n" : ""));
}

std::vector<ParamSpec> all_params(const ModelSpec& spec) {
  std::vector<ParamSpec> params = layer_params(spec);
  for (ParamSpec& param : outer_params(spec)) {
    params.push_back(std::move(param));
  }
  return params;
}

const ParamSpec& named(const std::vector<ParamSpec>& params, const std::string& name) {
  for (const ParamSpec& param : params) {
    if (param.name == name) {
      return param;
    }
  }
  throw InvalidArgument("no parameter " + name);
}

}  // namespace

TEST_CASE("the units of a parameter own every element of its tensor once", "[core][model]") {
  tests::Dice dice(1);
  for (int round = 0; round < 200; ++round) {
    const ModelSpec spec = random_model(dice);
    for (const ParamSpec& param : all_params(spec)) {
      if (!param.over_tp) {
        continue;
      }
      CAPTURE(round, param.name);
      std::vector<int> owners(static_cast<std::size_t>(param.num_elements()), 0);
      for (std::int64_t unit = 0; unit < param.over_tp->num_units; ++unit) {
        const UnitBox box = param.unit_box(unit);
        for (const std::int64_t first : box.first) {
          for (std::int64_t block = 0; block < box.num_blocks; ++block) {
            for (std::int64_t i = 0; i < box.block_size; ++i) {
              ++owners.at(static_cast<std::size_t>(first + block * box.stride + i));
            }
          }
        }
      }
      CHECK(owners == std::vector<int>(owners.size(), 1));
    }
  }
}

TEST_CASE("a unit is what one rank needs to compute alone", "[core][model]") {
  const std::vector<ParamSpec> llama =
      layer_params(model("llama", {2, 4096, 14336, 32, 8, 128256, 8192}));
  // [q q q q k v] of 128 rows each, per kv group.
  CHECK(named(llama, "self_attention.linear_qkv.weight").unit_box(1) ==
        UnitBox{.first = {6 * 128 * 4096},
                .num_blocks = 1,
                .block_size = 6 * 128 * 4096,
                .stride = 48 * 128 * 4096});
  CHECK(named(llama, "self_attention.linear_proj.weight").unit_box(1) ==
        UnitBox{.first = {4 * 128}, .num_blocks = 4096, .block_size = 4 * 128, .stride = 4096});
  // Gate row and up row are one unit.
  CHECK(named(llama, "mlp.linear_fc1.weight").unit_box(3) ==
        UnitBox{.first = {3 * 4096, (14336 + 3) * 4096},
                .num_blocks = 1,
                .block_size = 4096,
                .stride = 2 * 14336 * 4096});
  CHECK(named(llama, "mlp.linear_fc2.weight").unit_box(3) ==
        UnitBox{.first = {3}, .num_blocks = 4096, .block_size = 1, .stride = 14336});
}

TEST_CASE("parameters that must move together have the same units", "[core][model]") {
  tests::Dice dice(2);
  for (int round = 0; round < 100; ++round) {
    const ModelSpec spec = random_model(dice);
    const std::vector<ParamSpec> params = layer_params(spec);
    const std::string mlp = spec.num_experts > 0 ? "mlp.experts." : "mlp.";
    const auto units = [&](const std::string& name) {
      return named(params, name).over_tp->num_units;
    };
    CHECK(units("self_attention.linear_qkv.weight") == spec.num_query_groups);
    CHECK(units("self_attention.linear_proj.weight") == spec.num_query_groups);
    CHECK(units(mlp + "linear_fc1.weight") == units(mlp + "linear_fc2.weight"));
  }
}

TEST_CASE("a model reads back from what it is written as", "[core][model]") {
  tests::Dice dice(3);
  for (int round = 0; round < 200; ++round) {
    const ModelSpec spec = random_model(dice);
    const Value value = parse_json(to_json_text(to_value(spec)), "a.json");
    CHECK(read_model(Reader(value, "a.json")) == spec);
  }
}

TEST_CASE("the parameter counts of published models", "[core][model][golden]") {
  // Sums over the tensors of the released checkpoints, unpadded vocabularies.
  CHECK(model("gpt", {12, 768, 3072, 12, 12, 50257, 1024}).num_parameters() == 124439808);
  CHECK(model("gpt", {48, 1600, 6400, 25, 25, 50257, 1024}).num_parameters() == 1557611200);
  CHECK(model("llama", {32, 4096, 11008, 32, 32, 32000, 4096}).num_parameters() == 6738415616);
  CHECK(model("llama", {32, 4096, 14336, 32, 8, 128256, 8192}).num_parameters() == 8030261248);
  CHECK(model("llama", {80, 8192, 28672, 64, 8, 128256, 8192}).num_parameters() == 70553706496);
  CHECK(model("llama", {126, 16384, 53248, 128, 8, 128256, 8192}).num_parameters() == 405853388800);
  CHECK(model("llama", {16, 2048, 8192, 32, 8, 128256, 8192}, kTied).num_parameters() ==
        1235814400);
  CHECK(model("llama", {28, 3072, 8192, 24, 8, 128256, 8192}, kTied).num_parameters() ==
        3212749824);
  CHECK(model("moe", {32, 4096, 14336, 32, 8, 32000, 4096}, kMixtral).num_parameters() ==
        46702792704);
  // GPT-3, Brown et al. 2020, table 2.1: 175.0B, rounded.
  const auto gpt3 = model("gpt", {96, 12288, 49152, 96, 96, 50257, 2048}).num_parameters();
  CHECK(static_cast<double>(gpt3) == Approx(175e9).epsilon(0.005));
}

TEST_CASE("the model FLOPs per token of published tables", "[core][model][golden]") {
  // training-engine.md §1.18, GFLOP per token, as printed there.
  const auto gflop = [](const ModelSpec& spec) {
    return spec.flops_per_sequence() / static_cast<double>(spec.seq_length) / 1e9;
  };
  const auto near = [](double printed, double unit) { return Approx(printed).margin(unit / 2); };
  CHECK(gflop(model("llama", {32, 4096, 14336, 32, 8, 128256, 8192})) == near(51.47, 0.01));
  CHECK(gflop(model("llama", {80, 8192, 28672, 64, 8, 128512, 8192})) == near(449.24, 0.01));
  CHECK(gflop(model("llama", {28, 3072, 8192, 24, 8, 128256, 8192}, kTied)) == near(23.50, 0.01));
  CHECK(gflop(model("llama", {16, 2048, 8192, 32, 8, 128256, 8192}, kTied)) == near(9.025, 0.001));
  CHECK(gflop(model("gpt", {12, 768, 3072, 12, 12, 50304, 1024})) == near(0.7980, 0.0001));
  CHECK(gflop(model("gpt", {48, 1600, 6400, 25, 25, 50304, 1024})) == near(9.802, 0.001));
  // NVIDIA's published pairs of tokens/s and TFLOP/s per GPU.
  CHECK(gflop(model("llama", {126, 16384, 53248, 128, 8, 128256, 8192})) * 326 / 1e3 ==
        near(823, 1));
  // The nonuniform-TP paper's "480B" is 12 h^2 L = 503B in its matrices.
  const auto paper = model("gpt", {100, 20480, 81920, 128, 128, 51200, 16384}).num_parameters();
  CHECK(static_cast<double>(paper) == Approx(12.0 * 20480 * 20480 * 100).epsilon(0.01));
}

TEST_CASE("a mixture of experts computes the experts that a token visits", "[core][model]") {
  const Shape shape = {4, 64, 96, 4, 2, 128, 32};
  const double dense = model("llama", shape).flops_per_sequence();
  const double one =
      model("moe", shape, "num_experts = 8\nmoe_router_topk = 1\n").flops_per_sequence();
  const double two =
      model("moe", shape, "num_experts = 8\nmoe_router_topk = 2\n").flops_per_sequence();
  const double router = 6.0 * 32 * 4 * 64 * 8;
  const double expert = 6.0 * 32 * 4 * 64 * 96 * 3;
  CHECK(one - dense == Approx(router));
  CHECK(two - one == Approx(expert));
}

TEST_CASE("the vocabulary is padded to 128 unless the job fixes it", "[core][model]") {
  const std::string base =
      "name = 'm'\nfamily = 'gpt'\nnum_layers = 1\nhidden_size = 64\nnum_attention_heads = 4\n"
      "seq_length = 8\n";
  CHECK(read(base + "vocab_size = 50257").padded_vocab_size == 50304);
  CHECK(read(base + "vocab_size = 128256").padded_vocab_size == 128256);
  CHECK(read(base + "vocab_size = 50257\npadded_vocab_size = 51200").padded_vocab_size == 51200);
  CHECK(read(base + "vocab_size = 50257").ffn_hidden_size == 256);
  CHECK(error_of(base) ==
        "a.toml: model: needs vocab_size, or a padded_vocab_size of at least vocab_size");
  CHECK(error_of(base + "vocab_size = 200\npadded_vocab_size = 128") ==
        "a.toml: model: needs vocab_size, or a padded_vocab_size of at least vocab_size");
}

TEST_CASE("a model that does not fit together is refused with the counts", "[core][model]") {
  const std::string base =
      "name = 'm'\nfamily = 'llama'\nnum_layers = 2\nhidden_size = 64\nffn_hidden_size = 96\n"
      "seq_length = 8\nvocab_size = 128\n";
  const std::string heads = base + "num_attention_heads = 8\n";
  CHECK(error_of(heads) == "no error");
  CHECK(error_of(heads + "num_query_groups = 3") ==
        "a.toml: model: num_attention_heads 8 is not divisible by num_query_groups 3");
  CHECK(error_of(base + "num_attention_heads = 7") ==
        "a.toml: model: hidden_size 64 is not divisible by num_attention_heads 7");
  CHECK(error_of(base + "num_attention_heads = 7\nkv_channels = 16") == "no error");
  CHECK(error_of(heads + "num_experts = 8").find("num_experts goes with family") !=
        std::string::npos);
  CHECK(error_of(heads + "moe_ffn_hidden_size = 8") ==
        "a.toml: model: moe_ffn_hidden_size goes with num_experts");
  CHECK(error_of(heads + "moe_router_topk = 2") ==
        "a.toml: model: moe_router_topk 2 is more than num_experts 0");
  CHECK(error_of(heads + "num_heads = 8").rfind("a.toml: model.num_heads: unknown key", 0) == 0);
  CHECK(
      error_of(base + "num_attention_heads = 0").rfind("a.toml: model.num_attention_heads: ", 0) ==
      0);
  CHECK(error_of("name = 'm'\nfamily = 'bert'") ==
        "a.toml: model.family: expected one of gpt, llama, moe, found 'bert'");
  CHECK(error_of(base + "num_attention_heads = 64\nkv_channels = 1099511627776")
            .find("parameters, expected at most") != std::string::npos);
}

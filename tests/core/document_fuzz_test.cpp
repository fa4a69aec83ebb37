// Mutates valid documents by seeded random edits and feeds them to the readers: whatever the bytes,
// the outcome is a value or a ParseError of one line. RUNFLAT_FUZZ_SECONDS in the environment
// makes it search longer, with seeds that the short run does not use.

#include "core/cluster.hpp"
#include "core/document.hpp"
#include "core/error.hpp"
#include "core/layout.hpp"
#include "core/model.hpp"
#include "tests/catch.hpp"
#include "tests/dice.hpp"

#include <chrono>
#include <cstdlib>
#include <string>
#include <vector>

using namespace runflat;

namespace {

const std::string kToml = R"(# A job of two kinds of layers.
name = "fuzz"
trials = 1_000
rates = [1.5e-3, 0.25, 1, 0x1F]

[cluster]
gpu = "h100"
num_nodes = 64
gpus_per_node = 8
domain_size = 16
domains_per_rack = 2

[model]
name = 'mixtral "8x7B"'
family = "moe"
num_layers = 32
hidden_size = 4096
ffn_hidden_size = 14336
num_attention_heads = 32
num_query_groups = 8
kv_channels = 128
seq_length = 4096
vocab_size = 32000
num_experts = 8
moe_router_topk = 2

[layout]
tensor_model_parallel_size = 8
pipeline_model_parallel_size = 4
data_parallel_size = 16
expert_model_parallel_size = 4
virtual_pipeline_model_parallel_size = 2
order = "tp-cp-ep-dp-pp"

[policies.ntp]
spares.domains = 2
note = """
several
lines"""
[[policies.steps]]
inline = {at = 1.0, kinds = ["a", "b"]}
)";

/// Pieces that readers are sensitive to, pasted in at random.
const std::vector<std::string> kPieces = {"\"",
                                          "'",
                                          "\"\"\"",
                                          "'''",
                                          "\\",
                                          "\\u",
                                          "\\u0000",
                                          "\\ud800",
                                          "[",
                                          "]",
                                          "[[",
                                          "{",
                                          "}",
                                          ".",
                                          "=",
                                          ",",
                                          ":",
                                          "#",
                                          "\n",
                                          "\r",
                                          "\t",
                                          " ",
                                          "-",
                                          "+",
                                          "_",
                                          "0x",
                                          "0",
                                          "1e999",
                                          "-1",
                                          "nan",
                                          "inf",
                                          "true",
                                          "null",
                                          "9223372036854775807",
                                          "9223372036854775808",
                                          "1099511627776",
                                          "16777216",
                                          "1979-05-27T07:32:00Z",
                                          "\xff",
                                          "\xc3",
                                          "\xe2\x82",
                                          "\xef\xbb\xbf",
                                          "\xf4\x90\x80\x80",
                                          "a.a.a.a.",
                                          "[[[[[[[[",
                                          "{a={a={a=",
                                          "order",
                                          "num_layers",
                                          "hidden_size = ",
                                          "gpu"};

std::string mutated(std::string text, tests::Dice& dice) {
  for (std::int64_t edits = dice.between(1, 6); edits > 0; --edits) {
    const std::size_t at = dice.index(text.size() + 1);
    const std::size_t most = text.size() - at;
    switch (dice.between(0, 6)) {
      case 0:
        text.erase(at, dice.index(std::min<std::size_t>(most, 40) + 1));
        break;
      case 1:
        text.insert(at, dice.pick(kPieces));
        break;
      case 2:
        text.replace(at, std::min<std::size_t>(most, 1 + dice.index(8)), dice.pick(kPieces));
        break;
      case 3:
        text.insert(at, 1, static_cast<char>(dice.between(0, 255)));
        break;
      case 4: {  // repeat a stretch, sometimes many times over
        const std::string stretch = text.substr(at, 1 + dice.index(30));
        for (std::int64_t i = dice.one_in(20) ? 2000 : dice.between(1, 4); i > 0; --i) {
          text.insert(at, stretch);
        }
        break;
      }
      case 5: {  // move a stretch elsewhere
        const std::string stretch = text.substr(at, 1 + dice.index(60));
        text.erase(at, stretch.size());
        text.insert(dice.index(text.size() + 1), stretch);
        break;
      }
      default:
        text.resize(dice.one_in(10) ? at : text.size());
        break;
    }
    if (text.size() > 100000) {
      text.resize(100000);
    }
  }
  return text;
}

/// Reads whatever is there and uses it the way a plan would.
void use(const Value& document) {
  const Reader in(document, "fuzz");
  ObjectReader members = in.object();
  const auto attempt = [&](const char* key, const auto& read) {
    if (const std::optional<Reader> member = members.find(key)) {
      try {
        read(*member);
      } catch (const ParseError&) {
      }
    }
  };
  attempt("cluster", [](const Reader& place) {
    const ClusterSpec cluster = read_cluster(place);  // outside of CHECK, which catches
    CHECK(cluster.num_domains() >= 1);
  });
  attempt("model", [](const Reader& place) {
    const ModelSpec model = read_model(place);
    CHECK(model.num_parameters() > 0);
    CHECK(model.flops_per_sequence() > 0.0);
    for (const ParamSpec& param : layer_params(model)) {
      if (param.over_tp) {
        CHECK(param.unit_box(param.over_tp->num_units - 1).first.back() < param.num_elements());
      }
    }
  });
  attempt("layout", [](const Reader& place) {
    const ParallelSizes sizes = read_sizes(place);
    CHECK(sizes.num_ranks() >= 1);
    if (sizes.num_ranks() <= 4096) {
      CHECK(ParallelLayout::uniform(sizes).num_ranks() == sizes.num_ranks());
    }
  });
  members.finish();
}

/// True when the text was a document. Any exception but a ParseError fails the test.
template <typename Parse>
bool survives(const std::string& text, Parse parse) {
  bool parsed = false;
  try {
    const Value document = parse(text, "fuzz");
    parsed = true;
    const Value copy = parse_json(to_json_text(document), "fuzz");
    CHECK(copy.is_null() == document.is_null());
    use(document);
  } catch (const ParseError& error) {
    CHECK(std::string(error.what()).find('\n') == std::string::npos);
  }
  return parsed;
}

template <typename Parse>
void fuzz(const std::string& valid, Parse parse) {
  constexpr std::uint64_t kShortRun = 10000;
  const char* const asked = std::getenv("RUNFLAT_FUZZ_SECONDS");
  const auto start = std::chrono::steady_clock::now();
  const std::chrono::seconds longest(asked != nullptr ? std::atoi(asked) : 0);
  std::uint64_t num_parsed = 0;
  std::uint64_t seed = 0;
  for (; seed < kShortRun || std::chrono::steady_clock::now() - start < longest; ++seed) {
    tests::Dice dice(seed);
    CAPTURE(seed);
    num_parsed += survives(mutated(valid, dice), parse) ? 1U : 0U;
  }
  // Both outcomes are well represented, else the mutations are too weak or too strong.
  CHECK(num_parsed > seed / 50);
  CHECK(num_parsed < seed * 9 / 10);
}

}  // namespace

TEST_CASE("mutated TOML gives a value or a ParseError", "[core][document][fuzz]") {
  REQUIRE(survives(kToml, parse_toml));
  fuzz(kToml, parse_toml);
}

TEST_CASE("mutated JSON gives a value or a ParseError", "[core][document][fuzz]") {
  const std::string json = to_json_text(parse_toml(kToml, "fuzz"));
  REQUIRE(survives(json, parse_json));
  fuzz(json, parse_json);
}

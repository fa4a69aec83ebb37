#include "core/plan.hpp"

#include "core/document.hpp"
#include "core/error.hpp"
#include "tests/catch.hpp"
#include "tests/dice.hpp"
#include "tests/random_plan.hpp"

#include <string>

using namespace runflat;

namespace {

/// Two replicas of TP4 on a node of 8 and one to spare; gpu5 has failed.
Plan small_plan() {
  Plan plan;
  plan.policy = "ntp";
  plan.reasons = {"gpu5 is down."};
  plan.model = {.name = "tiny",
                .family = ModelFamily::llama,
                .num_layers = 2,
                .hidden_size = 16,
                .ffn_hidden_size = 32,
                .num_attention_heads = 8,
                .num_query_groups = 8,
                .kv_channels = 2,
                .seq_length = 8,
                .padded_vocab_size = 128,
                .gated_linear_unit = true,
                .rms_norm = true};
  plan.cluster = {.gpu = "h100", .num_nodes = 2, .gpus_per_node = 8, .domain_size = 8};
  plan.layout = ParallelLayout::nonuniform({.tp = 4, .dp = 2, .etp = 4},
                                           {{{DpRank(1), CpRank(0), PpRank(0)}, {1}}});
  plan.training.global_batch_size = 8;
  plan.replicas = {{.num_microbatches = 4}, {.num_microbatches = 3, .power = 1.1}};
  plan.failed = {GpuId(5)};
  plan.spare_domains = {DomainId(1)};
  return plan;
}

std::string error_of(const Value& document) {
  try {
    (void)read_plan(Reader(document, "plan.json"));
  } catch (const ParseError& error) {
    return error.what();
  }
  return "no error";
}

/// What reading says when one value of the small plan is another.
std::string error_with(const std::string& path, const Value& value) {
  Value document = to_value(small_plan());
  document.set_path(path, value);
  return error_of(document);
}

Value numbers(const std::vector<std::int64_t>& values) {
  return Value::array_of(values);
}

}  // namespace

TEST_CASE("a plan reads back from what it is written as", "[core][plan]") {
  tests::Dice dice(1);
  for (int round = 0; round < 200; ++round) {
    Plan plan = tests::random_plan(dice);
    plan.reasons = {"first", "sec\"ond\n"};
    plan.replicas.front().num_recompute_layers = dice.between(0, 5);
    const Value document = parse_json(to_json_text(to_value(plan)), "plan.json");
    CHECK(read_plan(Reader(document, "plan.json")) == plan);
  }
}

TEST_CASE("the batch of a plan is the sum over its replicas", "[core][plan]") {
  Plan plan = small_plan();
  plan.training.micro_batch_size = 2;
  CHECK(plan.global_batch_size() == 2 * (4 + 3));
}

TEST_CASE("another schema, unknown keys and missing ones are refused by name", "[core][plan]") {
  REQUIRE(error_of(to_value(small_plan())) == "no error");
  CHECK(error_with("schema", 2) == "plan.json: schema: expected schema 1, found 2");
  CHECK(error_with("schema", "1").rfind("plan.json: schema: expected an integer", 0) == 0);
  CHECK(error_with("color", 2).rfind("plan.json: color: unknown key", 0) == 0);
  CHECK(error_with("layout.depth", 2).rfind("plan.json: layout.depth: unknown key", 0) == 0);
  CHECK(error_with("layout.cells.1.rank", 2)
            .rfind("plan.json: layout.cells.1.rank: unknown key", 0) == 0);
  CHECK(error_with("replicas.0.batch", 2).rfind("plan.json: replicas.0.batch: unknown key", 0) ==
        0);
  CHECK(error_with("layout.cells.0", Value::Object{{"dp", 0}}) ==
        "plan.json: layout.cells.0.cp: is missing");
  CHECK(error_of(Value::Object{}) == "plan.json: schema: is missing");
  CHECK(error_of(Value::Array{}).rfind("plan.json", 0) == 0);
}

TEST_CASE("a plan that contradicts itself is refused with the place", "[core][plan]") {
  CHECK(error_with("failed", numbers({5, 16})) ==
        "plan.json: failed.1: expected an integer from 0 to 15, found 16");
  CHECK(error_with("failed", numbers({5, 5})) == "plan.json: failed: gpu5 appears twice");
  CHECK(error_with("spare_domains", numbers({2})) ==
        "plan.json: spare_domains.0: expected an integer from 0 to 1, found 2");
  CHECK(error_with("spare_domains", numbers({1, 1})) ==
        "plan.json: spare_domains: domain1 appears twice");
  CHECK(error_with("spare_domains", numbers({0})) ==
        "plan.json: layout: gpu0 of spare domain0 plays a rank");
  CHECK(error_with("failed", numbers({0})) ==
        "plan.json: layout: gpu0 has failed and plays a rank");
  CHECK(error_with("layout.cells.0.gpus", numbers({0, 1, 2, 8})) ==
        "plan.json: layout: the TP group of gpu8 spans NVLink domains");
  CHECK(error_with("layout.cells.0.gpus", numbers({0, 1, 2, 16})) ==
        "plan.json: layout.cells.0.gpus.3: expected an integer from 0 to 15, found 16");
  CHECK(error_with("layout.cells.0.gpus", numbers({0, 1, 2, 4})) ==
        "plan.json: layout.cells: gpu4 plays two ranks");
  CHECK(error_with("layout.cells.0.gpus", numbers({0, 1, 2})) ==
        "plan.json: layout.cells.0: 3 GPUs, expected 4");
  CHECK(error_with("layout.cells.0.gpus", numbers({})) ==
        "plan.json: layout.cells.0: 0 GPUs, expected 4");
  CHECK(error_with("layout.cells.1.inactive", numbers({0, 1, 2, 3})) ==
        "plan.json: layout.cells.1: no active slot is left");
  CHECK(error_with("layout.cells.1.inactive", numbers({1, 1})) ==
        "plan.json: layout.cells.1: the inactive slots must be in ascending order, each once");
  CHECK(error_with("layout.cells.1.inactive", numbers({4})) ==
        "plan.json: layout.cells.1.inactive.0: expected an integer from 0 to 3, found 4");
  CHECK(error_with("layout.cells.1.dp", 0) ==
        "plan.json: layout.cells.1: cell (dp 0, cp 0, pp 0) appears twice");
  CHECK(error_with("layout.cells.1.dp", 2) ==
        "plan.json: layout.cells.1.dp: expected an integer from 0 to 1, found 2");
  CHECK(error_with("layout.sizes.data_parallel_size", 3) ==
        "plan.json: layout.cells: expected 3 cells, found 2");
  CHECK(error_with("layout.sizes.data_parallel_size", 5) ==
        "plan.json: layout: 20 ranks do not fit onto 16 GPUs");
  CHECK(error_with("replicas", Value::Array{}) ==
        "plan.json: replicas: expected 2 replicas, found 0");
  CHECK(error_with("replicas.0.num_microbatches", 0)
            .rfind("plan.json: replicas.0.num_microbatches: expected an integer", 0) == 0);
  CHECK(error_with("replicas.1.power", 0.0) ==
        "plan.json: replicas.1.power: expected a number above 0, found 0.0");
  CHECK(error_with("replicas.1.num_recompute_layers", -1)
            .rfind("plan.json: replicas.1.num_recompute_layers: expected an integer", 0) == 0);
}

namespace {

/// Changes one number, word or key somewhere in the document to something likely to hurt.
void mutate(Value& value, tests::Dice& dice) {
  const std::vector<Value> pieces = {Value(),
                                     Value(true),
                                     Value(-1),
                                     Value(0),
                                     Value(1),
                                     Value(7),
                                     Value(2.5),
                                     Value(std::int64_t{1} << 62),
                                     Value("tp"),
                                     Value(Value::Array{}),
                                     Value(Value::Object{})};
  if (auto* object = value.get_if<Value::Object>(); object != nullptr && !object->empty()) {
    auto& member = (*object)[dice.index(object->size())];
    if (dice.one_in(15)) {
      member.first += "x";
    } else if (dice.one_in(15)) {
      object->pop_back();
    } else {
      mutate(member.second, dice);
    }
  } else if (auto* array = value.get_if<Value::Array>(); array != nullptr && !array->empty()) {
    if (dice.one_in(10)) {
      array->push_back(dice.pick(*array));
    } else if (dice.one_in(10)) {
      array->pop_back();
    } else {
      mutate((*array)[dice.index(array->size())], dice);
    }
  } else if (const auto* number = value.get_if<std::int64_t>(); number != nullptr) {
    value = dice.one_in(2) ? Value(*number + dice.between(-1, 1)) : Value(dice.pick(pieces));
  } else {
    value = dice.pick(pieces);
  }
}

}  // namespace

TEST_CASE("mutated plans give a Plan that reads back, or a ParseError", "[core][plan][fuzz]") {
  tests::Dice dice(2);
  int num_plans = 0;
  int num_rounds = 0;
  for (; num_rounds < 3000; ++num_rounds) {
    CAPTURE(num_rounds);
    const Plan plan = num_rounds % 2 == 0 ? small_plan() : tests::random_plan(dice);
    Value document = to_value(plan);
    for (std::int64_t edits = dice.between(1, 2); edits > 0; --edits) {
      mutate(document, dice);
    }
    try {
      const Plan read = read_plan(Reader(document, "plan.json"));
      ++num_plans;
      const Value again = parse_json(to_json_text(to_value(read)), "again.json");
      REQUIRE(read_plan(Reader(again, "again.json")) == read);
      REQUIRE(read.global_batch_size() > 0);
    } catch (const ParseError& error) {
      const std::string text = error.what();
      REQUIRE(text.rfind("plan.json", 0) == 0);
      REQUIRE(text.find('\n') == std::string::npos);
    }
  }
  CHECK(num_plans > num_rounds / 10);
  CHECK(num_plans < num_rounds * 9 / 10);
}

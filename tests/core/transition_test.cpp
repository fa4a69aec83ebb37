#include "core/transition.hpp"

#include "core/document.hpp"
#include "core/pipeline_layers.hpp"
#include "core/state_move.hpp"
#include "core/state_slice.hpp"
#include "tests/catch.hpp"
#include "tests/dice.hpp"
#include "tests/random_plan.hpp"

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <tuple>

using namespace runflat;

namespace {

/// One unit of one parameter of one layer (-1: outside the layers) and expert (-1: dense).
using Unit = std::tuple<std::string, std::int64_t, std::int64_t, std::int64_t>;
using Holdings = std::map<GpuId, std::set<Unit>>;

bool is_on_stage(const ParamSpec& param, std::int64_t stage, const ParallelSizes& sizes) {
  const bool is_stored = !param.tied_to_embedding || sizes.pp > 1;
  return param.place == ParamPlace::embedding ? stage == 0 : stage == sizes.pp - 1 && is_stored;
}

/// What every rank of a plan must hold, straight from the ParamSpecs: the ranks of a stage, in the
/// default order, are numbered by tp, then cp, then dp, and experts by whole TP groups.
Holdings wanted_by(const Plan& plan) {
  const ParallelLayout& layout = plan.layout;
  const ParallelSizes& sizes = layout.sizes();
  const std::vector<PpRank> stages = stages_of_layers(plan.model.num_layers, sizes.pp, sizes.vpp);
  Holdings holdings;
  for (std::int64_t r = 0; r < layout.num_ranks(); ++r) {
    const Coordinate at = layout.coordinate_of(Rank(r));
    std::set<Unit>& held = holdings[layout.gpu_of(Rank(r))];
    const std::int64_t tp = layout.tp_size(at.cell());
    const std::int64_t ep = (at.cp.value() + sizes.cp * at.dp.value()) % sizes.ep;
    const auto add = [&](const ParamSpec& param, std::int64_t layer) {
      const std::int64_t num_units = param.over_tp ? param.over_tp->num_units : 1;
      const bool may_replicate = !param.over_tp || param.over_tp->kind == UnitKind::kv_group;
      const auto maps = make_shard_maps(num_units, tp, layout.sync_degree(at.pp), may_replicate);
      const std::int64_t experts = param.over_ep ? param.over_ep->num_units / sizes.ep : 0;
      for (const UnitRange& range : maps->compute.ranges_of(at.tp)) {
        for (std::int64_t unit = range.first; unit < range.first + range.num; ++unit) {
          if (!param.over_ep) {
            held.insert({param.name, layer, -1, unit});
          }
          for (std::int64_t e = ep * experts; e < (ep + 1) * experts; ++e) {
            held.insert({param.name, layer, e, unit});
          }
        }
      }
    };
    for (std::size_t layer = 0; layer < stages.size(); ++layer) {
      for (const ParamSpec& param : layer_params(plan.model)) {
        if (stages[layer] == at.pp) {
          add(param, static_cast<std::int64_t>(layer));
        }
      }
    }
    for (const ParamSpec& param : outer_params(plan.model)) {
      if (is_on_stage(param, at.pp.value(), sizes)) {
        add(param, -1);
      }
    }
  }
  return holdings;
}

/// Whether the unit is one of those that the move names (its layer and expert aside).
bool is_moved(const Unit& unit, const UnitMove& move, const StateSlice& slice) {
  const std::int64_t index = std::get<3>(unit);
  return index >= move.units.first && index < move.units.first + move.units.num &&
         std::count(slice.params.begin(), slice.params.end(), std::get<0>(unit)) > 0;
}

std::set<GpuId> gpus_of(const ParallelLayout& layout, const std::vector<Rank>& ranks) {
  std::set<GpuId> gpus;
  for (const Rank rank : ranks) {
    gpus.insert(layout.gpu_of(rank));
  }
  return gpus;
}

/// A gpt of one layer all of whose divided parameters have `num_units` units, of
/// (3 + 1) h for attention, 2 h for the MLP and h for the embedding: 7 h elements a unit.
ModelSpec model_of_units(std::int64_t num_units) {
  ModelSpec model;
  model.name = "units";
  model.num_layers = 1;
  model.hidden_size = num_units;
  model.ffn_hidden_size = num_units;
  model.num_attention_heads = num_units;
  model.num_query_groups = num_units;
  model.kv_channels = 1;
  model.seq_length = 1;
  model.padded_vocab_size = num_units;
  model.untie_embeddings_and_output_weights = false;
  return model;
}

Plan plan_of(const ModelSpec& model, const ParallelSizes& sizes, std::int64_t num_nodes) {
  Plan plan;
  plan.model = model;
  plan.cluster = {.gpu = "h100", .num_nodes = num_nodes, .gpus_per_node = 8, .domain_size = 8};
  plan.layout = ParallelLayout::uniform(sizes);
  plan.replicas.resize(static_cast<std::size_t>(sizes.dp));
  return plan;
}

/// `plan` after gpu3 has died: its TP group goes on without it.
Plan without_gpu3(Plan plan) {
  plan.failed = {GpuId(3)};
  std::vector<Cell> cells = plan.layout.cells();
  cells[0].inactive = {3};
  plan.layout = ParallelLayout::from_cells(plan.layout.sizes(), std::move(cells));
  return plan;
}

std::string error_of(const std::string& json) {
  try {
    const Value value = parse_json(json, "t.json");
    (void)read_transition(Reader(value, "t.json"));
  } catch (const ParseError& error) {
    return error.what();
  }
  return "no error";
}

}  // namespace

TEST_CASE("a transition from a plan to itself is empty", "[core][transition]") {
  tests::Dice dice(1);
  for (int round = 0; round < 60; ++round) {
    const Plan plan = tests::random_plan(dice);
    const auto transition = make_transition(plan, plan);
    REQUIRE(transition);
    CHECK(transition->is_empty());
    CHECK(transition->total_bytes() == Bytes{0.0});
  }
}

TEST_CASE("after the moves every rank holds exactly what the next plan wants",
          "[core][transition]") {
  tests::Dice dice(2);
  int num_feasible = 0;
  int num_rounds = 0;
  for (; num_rounds < 300; ++num_rounds) {
    CAPTURE(num_rounds);
    const Plan old = tests::random_plan(dice);
    const Plan next = tests::random_next_plan(old, dice);
    const std::vector<StateSlice> slices = state_slices(next.model);
    const Holdings before = wanted_by(old);
    const Holdings wanted = wanted_by(next);
    std::set<Unit> needed;
    for (const auto& [gpu, units] : wanted) {
      needed.insert(units.begin(), units.end());
    }
    for (const auto& [gpu, units] : before) {
      if (!std::binary_search(next.failed.begin(), next.failed.end(), gpu)) {
        for (const Unit& unit : units) {
          needed.erase(unit);
        }
      }
    }
    const auto moves = unit_moves(old, next);
    REQUIRE(moves.has_value() == needed.empty());  // infeasible exactly when a unit is lost
    if (!moves) {
      continue;
    }
    ++num_feasible;
    Holdings after;
    for (const auto& [gpu, units] : wanted) {  // what it keeps
      const auto had = before.find(gpu);
      for (const Unit& unit : units) {
        if (had != before.end() && had->second.count(unit) > 0) {
          after[gpu].insert(unit);
        }
      }
    }
    for (const UnitMove& move : *moves) {
      REQUIRE(!std::binary_search(next.failed.begin(), next.failed.end(), move.from));
      REQUIRE(move.from != move.to);
      const StateSlice& slice = slices.at(move.slice);
      std::int64_t num_moved = 0;
      for (const Unit& unit : wanted.at(move.to)) {
        if (is_moved(unit, move, slice) && before.at(move.from).count(unit) > 0) {
          ++num_moved;
          REQUIRE(after[move.to].insert(unit).second);  // never what it has, never twice
        }
      }
      REQUIRE(num_moved ==
              move.num_instances * move.units.num * static_cast<std::int64_t>(slice.params.size()));
    }
    for (const auto& [gpu, units] : wanted) {
      REQUIRE(after[gpu] == units);
    }
  }
  CHECK(num_feasible > num_rounds / 4);
  CHECK(num_feasible < num_rounds * 9 / 10);
}

TEST_CASE("what a survivor of the NVLink domain holds does not come over the network",
          "[core][transition]") {
  tests::Dice dice(3);
  int num_checked = 0;
  for (int round = 0; round < 150; ++round) {
    const Plan old = tests::random_plan(dice);
    const Plan next = tests::random_next_plan(old, dice);
    const auto moves = unit_moves(old, next);
    if (!moves) {
      continue;
    }
    const Holdings before = wanted_by(old);
    const Holdings wanted = wanted_by(next);
    std::map<DomainId, std::set<Unit>> near;
    for (const auto& [gpu, units] : before) {
      if (!std::binary_search(next.failed.begin(), next.failed.end(), gpu)) {
        near[next.cluster.domain_of(gpu)].insert(units.begin(), units.end());
      }
    }
    const std::vector<StateSlice> slices = state_slices(next.model);
    for (const UnitMove& move : *moves) {
      const DomainId domain = next.cluster.domain_of(move.to);
      for (const Unit& unit : wanted.at(move.to)) {
        if (next.cluster.domain_of(move.from) != domain &&
            is_moved(unit, move, slices[move.slice]) && before.at(move.from).count(unit) > 0) {
          ++num_checked;
          REQUIRE(near[domain].count(unit) == 0);
        }
      }
    }
  }
  CHECK(num_checked > 1000);
}

TEST_CASE("the bytes of TP8 to TP7 in one TP group", "[core][transition]") {
  // 56 units: 7 on each of 8 ranks, 8 on each of 7. A unit has 7 h = 7 * 56 elements of 14 bytes.
  constexpr double kUnit = 7.0 * 56.0 * 14.0;
  const ParallelSizes sizes{.tp = 8, .dp = 2, .etp = 8};
  const Plan old = plan_of(model_of_units(56), sizes, 2);
  const auto transition = make_transition(old, without_gpu3(old));
  REQUIRE(transition);
  std::map<std::pair<std::int64_t, std::int64_t>, double> units;
  for (const StateMove& move : transition->moves) {
    units[{move.from.value(), move.to.value()}] = move.bytes.value / kUnit;
  }
  // The damaged group: rank i of the seven wants [8i, 8i + 8), and GPU r had [7r, 7r + 7).
  // GPU 3 had [21, 28); the peer's GPU 11 has them too.
  std::map<std::pair<std::int64_t, std::int64_t>, double> expected = {
      {{1, 0}, 1},   // gpu0 wants [0, 8), had [0, 7): 7
      {{2, 1}, 2},   // gpu1 wants [8, 16), had [7, 14): 14, 15
      {{11, 2}, 3},  // gpu2 wants [16, 24), had [14, 21): 21 to 23
      {{11, 4}, 4},  // gpu4 wants [24, 32), had [28, 35): 24 to 27
      {{4, 5}, 3},   // gpu5 wants [32, 40), had [35, 42): 32 to 34
      {{5, 6}, 2},   // gpu6 wants [40, 48), had [42, 49): 40, 41
      {{6, 7}, 1},   // gpu7 wants [48, 56), had [49, 56): 48
  };
  // The healthy group now computes for a sync degree of 7: rank i < 7 wants the first 7 of
  // [8i, 8i + 8) and had [7i, 7i + 7): it lacks i units, which rank i + 1 had. Rank 7 wants the
  // last one of each eight, 8i + 7: it has 55, and rank i + 1 had the others.
  for (std::int64_t i = 0; i < 7; ++i) {
    if (i > 0) {
      expected[{8 + i + 1, 8 + i}] = static_cast<double>(i);
    }
    if (i < 6) {
      expected[{8 + i + 1, 8 + 7}] = 1;
    }
  }
  CHECK(units == expected);
  // 1 + 2 + 3 + 4 + 3 + 2 + 1 = 16 units in the damaged group; 0 + 1 + ... + 6 + 6 = 27 beside it.
  CHECK(transition->total_bytes().value == (16 + 27) * kUnit);
  CHECK(transition->most_between_domains(old.cluster).value == 7 * kUnit);  // gpu11 sends
  CHECK(transition->most_within_domains(old.cluster).value == 6 * kUnit);   // gpu15 gets 6
}

TEST_CASE("a replica without peers cannot lose a GPU", "[core][transition]") {
  const Plan old = plan_of(model_of_units(56), {.tp = 8, .etp = 8}, 1);
  const auto transition = make_transition(old, without_gpu3(old));
  REQUIRE_FALSE(transition);
  CHECK(transition.error().reason ==
        "no surviving GPU holds units 21 to 23 of self_attention.linear_qkv.weight that stage 0 "
        "needs; load a checkpoint");
}

TEST_CASE("a spare domain takes its state from replicas in turn", "[core][transition]") {
  const ParallelSizes sizes{.tp = 8, .dp = 9, .etp = 8};
  const Plan old = plan_of(model_of_units(56), sizes, 10);
  Plan next = old;
  next.failed = {GpuId(3)};
  std::vector<Cell> cells = old.layout.cells();
  for (std::int64_t i = 0; i < 8; ++i) {
    cells[0].slots[static_cast<std::size_t>(i)] = GpuId(72 + i);
  }
  next.layout = ParallelLayout::from_cells(sizes, cells);
  const auto transition = make_transition(old, next);
  REQUIRE(transition);
  // Nobody computes in another map, so only the spares receive; each from another domain.
  REQUIRE(transition->moves.size() == 8);
  std::set<std::int64_t> domains;
  for (const StateMove& move : transition->moves) {
    CHECK(next.cluster.domain_of(move.to) == DomainId(9));
    CHECK(move.from.value() % 8 == move.to.value() % 8);
    domains.insert(next.cluster.domain_of(move.from).value());
  }
  CHECK(domains.size() == 8);
}

TEST_CASE("every group of both layouts is kept or named once, and goes on with its own GPUs",
          "[core][transition]") {
  tests::Dice dice(4);
  std::map<GroupAction, int> num_actions;
  for (int round = 0; round < 200; ++round) {
    const Plan old = tests::random_plan(dice);
    const Plan next = tests::random_next_plan(old, dice);
    const std::vector<ProcessGroup> before = make_process_groups(old.layout);
    const std::vector<ProcessGroup> after = make_process_groups(next.layout);
    std::vector<int> old_named(before.size(), 0);
    std::vector<int> next_named(after.size(), 0);
    for (const CommunicatorChange& change : communicator_changes(old.layout, next.layout)) {
      ++num_actions[change.action];
      REQUIRE(change.old_group.has_value() == (change.action != GroupAction::create));
      REQUIRE(change.next_group.has_value() == (change.action != GroupAction::drop));
      if (change.old_group) {
        ++old_named.at(static_cast<std::size_t>(*change.old_group));
        REQUIRE(before.at(static_cast<std::size_t>(*change.old_group)).kind == change.kind);
      }
      if (change.next_group) {
        ++next_named.at(static_cast<std::size_t>(*change.next_group));
        REQUIRE(after.at(static_cast<std::size_t>(*change.next_group)).kind == change.kind);
      }
      if (change.action != GroupAction::keep && change.action != GroupAction::shrink) {
        CHECK(change.next_position.empty());
        continue;
      }
      const auto& old_ranks = before.at(static_cast<std::size_t>(*change.old_group)).ranks;
      const auto& next_ranks = after.at(static_cast<std::size_t>(*change.next_group)).ranks;
      REQUIRE(change.next_position.size() == old_ranks.size());
      CHECK((change.action == GroupAction::shrink) == (next_ranks.size() < old_ranks.size()));
      std::size_t num_placed = 0;
      for (std::size_t i = 0; i < old_ranks.size(); ++i) {
        if (const std::int64_t position = change.next_position[i]; position >= 0) {
          ++num_placed;
          CHECK(next.layout.gpu_of(next_ranks.at(static_cast<std::size_t>(position))) ==
                old.layout.gpu_of(old_ranks[i]));
        }
      }
      CHECK(num_placed == next_ranks.size());
    }
    std::map<GroupKind, std::set<std::vector<GpuId>>> kept_before;
    std::map<GroupKind, std::set<std::vector<GpuId>>> kept_after;
    const auto note = [](auto& kept, const ProcessGroup& group, const ParallelLayout& layout) {
      std::vector<GpuId> gpus;
      for (const Rank rank : group.ranks) {
        gpus.push_back(layout.gpu_of(rank));
      }
      kept[group.kind].insert(gpus);
    };
    for (std::size_t i = 0; i < before.size(); ++i) {
      REQUIRE(old_named[i] <= 1);
      if (old_named[i] == 0) {
        note(kept_before, before[i], old.layout);
      }
    }
    for (std::size_t i = 0; i < after.size(); ++i) {
      REQUIRE(next_named[i] <= 1);
      if (next_named[i] == 0) {
        note(kept_after, after[i], next.layout);
      }
    }
    CHECK(kept_before == kept_after);
  }
  CHECK(num_actions.size() == 5);  // all actions occur
}

TEST_CASE("communicators shrink exactly where all they did was lose idle or dead members",
          "[core][transition]") {
  tests::Dice dice(5);
  for (int round = 0; round < 100; ++round) {
    const Plan old = tests::random_plan(dice);
    const Plan next = tests::random_next_plan(old, dice);
    const std::vector<ProcessGroup> before = make_process_groups(old.layout);
    const std::vector<ProcessGroup> after = make_process_groups(next.layout);
    std::set<std::size_t> shrunk;
    for (const CommunicatorChange& change : communicator_changes(old.layout, next.layout)) {
      if (change.action == GroupAction::shrink) {
        shrunk.insert(static_cast<std::size_t>(*change.next_group));
      }
    }
    std::map<GroupKind, std::set<GpuId>> in_kind;
    for (const ProcessGroup& group : after) {
      in_kind[group.kind].merge(gpus_of(next.layout, group.ranks));
    }
    std::map<GroupKind, std::set<std::set<GpuId>>> left_over;  // of groups that lost members
    for (const ProcessGroup& group : before) {
      std::set<GpuId> left;
      for (const GpuId gpu : gpus_of(old.layout, group.ranks)) {
        if (in_kind[group.kind].count(gpu) > 0) {
          left.insert(gpu);
        }
      }
      if (left.size() < group.ranks.size()) {
        left_over[group.kind].insert(left);
      }
    }
    for (std::size_t i = 0; i < after.size(); ++i) {
      const std::set<GpuId> members = gpus_of(next.layout, after[i].ranks);
      CHECK((left_over[after[i].kind].count(members) > 0) == (shrunk.count(i) > 0));
    }
  }
}

TEST_CASE("a TP group that lost a GPU shrinks, and so do the groups through it",
          "[core][transition]") {
  const ParallelSizes sizes{.tp = 4, .dp = 2, .etp = 4};
  const Plan old = plan_of(model_of_units(12), sizes, 1);
  const Plan next = without_gpu3(old);
  const std::vector<ProcessGroup> before = make_process_groups(old.layout);
  const std::vector<CommunicatorChange> changes = communicator_changes(old.layout, next.layout);
  const auto change_of = [&](GroupKind kind, GpuId gpu) {
    for (const CommunicatorChange& change : changes) {
      if (change.kind == kind && change.old_group &&
          gpus_of(old.layout, before[static_cast<std::size_t>(*change.old_group)].ranks)
                  .count(gpu) > 0) {
        return change;
      }
    }
    return CommunicatorChange{};
  };
  CHECK(change_of(GroupKind::tp, GpuId(3)).action == GroupAction::shrink);
  CHECK(change_of(GroupKind::tp, GpuId(3)).next_position == std::vector<std::int64_t>{0, 1, 2, -1});
  CHECK(change_of(GroupKind::dp, GpuId(3)).action == GroupAction::shrink);  // {3, 7} to {7}
  CHECK(change_of(GroupKind::dp, GpuId(3)).next_position == std::vector<std::int64_t>{-1, 0});
  CHECK(change_of(GroupKind::tp, GpuId(7)) == CommunicatorChange{});  // kept
}

TEST_CASE("a transition reads back from what it is written as", "[core][transition]") {
  tests::Dice dice(6);
  for (int round = 0; round < 60; ++round) {
    const Plan old = tests::random_plan(dice);
    const auto transition = make_transition(old, tests::random_next_plan(old, dice));
    if (transition) {
      const Value value = parse_json(to_json_text(to_value(*transition)), "t.json");
      CHECK(read_transition(Reader(value, "t.json")) == *transition);
    }
  }
}

TEST_CASE("what no transition can be is refused with its place", "[core][transition]") {
  const auto with_change = [](const std::string& change) {
    return R"({"schema": 1, "moves": [], "communicators": [{"kind": "tp", )" + change + "}]}";
  };
  const auto with_moves = [](const std::string& moves) {
    return R"({"schema": 1, "communicators": [], "moves": [)" + moves + "]}";
  };
  CHECK(error_of(with_moves("")) == "no error");
  CHECK(error_of(R"({"schema": 2, "communicators": [], "moves": []})") ==
        "t.json: schema: expected schema 1, found 2");
  CHECK(error_of(R"({"schema": 1, "moves": []})") == "t.json: communicators: is missing");
  CHECK(error_of(R"({"schema": 1, "communicators": [], "moves": [], "x": 1})")
            .rfind("t.json: x: unknown key", 0) == 0);
  CHECK(error_of(with_change(R"("action": "grow", "old_group": 1)"))
            .rfind("t.json: communicators.0.action: expected one of keep, shrink", 0) == 0);
  CHECK(error_of(with_change(R"("action": "create", "old_group": 1, "next_group": 1)"))
            .rfind("t.json: communicators.0.old_group: unknown key", 0) == 0);
  CHECK(error_of(with_change(R"("action": "recreate", "next_group": 1)")) ==
        "t.json: communicators.0.old_group: is missing");
  const std::string shrink = R"("action": "shrink", "old_group": 0, "next_group": 0)";
  CHECK(error_of(with_change(shrink)) ==
        "t.json: communicators.0: shrink with 0 of 0 members left");
  CHECK(error_of(with_change(shrink + R"(, "next_position": [0, 1])")) ==
        "t.json: communicators.0: shrink with 2 of 2 members left");
  CHECK(error_of(with_change(shrink + R"(, "next_position": [0, -1, 0])")) ==
        "t.json: communicators.0: position 0 is given twice");
  CHECK(error_of(with_change(shrink + R"(, "next_position": [2, -1, 0])")) ==
        "t.json: communicators.0: position 2 of 2 members that are left");
  CHECK(error_of(with_change(shrink + R"(, "next_position": [1, -1, 0])")) == "no error");
  CHECK(error_of(with_moves(R"({"from": 1, "to": 1, "bytes": 2})")) ==
        "t.json: moves.0: gpu1 sends to itself");
  CHECK(error_of(with_moves(R"({"from": 1, "to": 2, "bytes": 0})")) ==
        "t.json: moves.0.bytes: expected a number above 0, found 0");
  CHECK(error_of(
            with_moves(R"({"from": 1, "to": 2, "bytes": 1}, {"from": 1, "to": 2, "bytes": 1})")) ==
        "t.json: moves.1: moves must be in ascending order of (from, to), each pair once");
}

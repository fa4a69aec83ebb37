#include "exec/reshard.hpp"

#include "core/error.hpp"
#include "exec/loopback_communicator.hpp"
#include "tests/catch.hpp"
#include "tests/dice.hpp"

#include <algorithm>
#include <cstring>
#include <vector>

using namespace runflat;
using namespace runflat::exec;
using namespace std::chrono_literals;

namespace {

/// The parameters of one layer whose units of every kind are at least 8: column-parallel with and
/// without bias, row-parallel, gated fc1, QKV with grouped queries, experts.
std::vector<ParamSpec> sharded_params(bool gated, std::int64_t num_experts) {
  ModelSpec model;
  model.num_layers = 1;
  model.hidden_size = 24;
  model.ffn_hidden_size = 29;
  model.num_attention_heads = 16;
  model.num_query_groups = 8;
  model.kv_channels = 3;
  model.padded_vocab_size = 37;
  model.gated_linear_unit = gated;
  model.add_bias_linear = !gated;
  model.num_experts = num_experts;
  model.moe_ffn_hidden_size = num_experts > 0 ? 11 : 0;
  std::vector<ParamSpec> params = layer_params(model);
  for (ParamSpec& param : outer_params(model)) {
    params.push_back(std::move(param));
  }
  std::erase_if(params, [](const ParamSpec& param) { return !param.over_tp; });
  return params;
}

/// What a rank holds of a parameter whose element i is the number i, written down directly from the
/// units' boxes in the whole tensor.
template <typename T>
std::vector<T> shard_of(const ParamSpec& param, const ShardMap& map, TpRank rank) {
  const ParamSpec local = local_param(param, map, rank);
  std::vector<T> tensor(static_cast<std::size_t>(local.num_elements()));
  if (rank.value() >= map.degree()) {
    return tensor;
  }
  std::int64_t local_unit = 0;
  for (const UnitRange& range : map.ranges_of(rank)) {
    for (std::int64_t unit = range.first; unit < range.first + range.num; ++unit, ++local_unit) {
      const UnitBox whole = param.unit_box(unit);
      const UnitBox mine = local.unit_box(local_unit);
      for (std::size_t base = 0; base < whole.first.size(); ++base) {
        for (std::int64_t block = 0; block < whole.num_blocks; ++block) {
          for (std::int64_t i = 0; i < whole.block_size; ++i) {
            tensor.at(static_cast<std::size_t>(mine.first[base] + block * mine.stride + i)) =
                static_cast<T>(whole.first[base] + block * whole.stride + i);
          }
        }
      }
    }
  }
  return tensor;
}

/// Runs the reshard on thread ranks and gives what every rank then holds.
template <typename T>
std::vector<std::vector<T>> resharded(const ParamSpec& param,
                                      const ShardMap& from,
                                      const ShardMap& to,
                                      const std::vector<std::vector<T>>& tensors) {
  std::vector<std::vector<T>> results(tensors.size());
  spawn(static_cast<std::int64_t>(tensors.size()), [&](ThreadRank& self) {
    Communicator& group = self.world;
    const TpRank rank(group.rank());
    const ParamReshard reshard(param, from, to, rank);
    std::vector<T> send(static_cast<std::size_t>(reshard.num_sent()));
    std::vector<T> recv(static_cast<std::size_t>(reshard.num_received()));
    std::vector<T>& result = results[rank.index()];
    result.resize(static_cast<std::size_t>(local_param(param, to, rank).num_elements()));
    const SyncStatus status = reshard.run({.from = tensors[rank.index()].data(),
                                           .to = result.data(),
                                           .send = send.data(),
                                           .recv = recv.data(),
                                           .element_size = sizeof(T)},
                                          kernels::reshard_pack_reference,
                                          group,
                                          deadline_in(30s));
    require(status == SyncStatus::done, "the reshard did not end");
  });
  return results;
}

template <typename T>
void check_there_and_back(const ParamSpec& param, const ShardMap& from, const ShardMap& to) {
  CAPTURE(param.name, from.degree(), to.degree());
  const std::int64_t group_size = std::max(from.degree(), to.degree());
  std::vector<std::vector<T>> before;
  std::vector<std::vector<T>> expected;
  for (std::int64_t rank = 0; rank < group_size; ++rank) {
    before.push_back(shard_of<T>(param, from, TpRank(rank)));
    expected.push_back(shard_of<T>(param, to, TpRank(rank)));
  }
  const auto there = resharded(param, from, to, before);
  CHECK(there == expected);
  CHECK(resharded(param, to, from, there) == before);
}

struct Degrees {
  std::int64_t compute, sync;
};

}  // namespace

TEST_CASE("every unit's bytes end on the right rank, and back is the identity", "[exec][reshard]") {
  const Degrees degrees = GENERATE(
      Degrees{2, 1}, Degrees{4, 3}, Degrees{8, 6}, Degrees{8, 7}, Degrees{5, 5}, Degrees{7, 2});
  const bool gated = GENERATE(false, true);
  for (const ParamSpec& param : sharded_params(gated, 0)) {
    const auto maps = make_shard_maps(param.over_tp->num_units, degrees.compute, degrees.sync);
    REQUIRE(maps.has_value());
    check_there_and_back<float>(param, maps->compute, maps->sync);
    check_there_and_back<std::uint16_t>(param, maps->compute, maps->sync);
  }
}

TEST_CASE("the weights of experts are resharded expert by expert", "[exec][reshard]") {
  for (const ParamSpec& param : sharded_params(true, 3)) {
    const auto maps = make_shard_maps(param.over_tp->num_units, 8, 5);
    REQUIRE(maps.has_value());
    check_there_and_back<float>(param, maps->compute, maps->sync);
  }
}

TEST_CASE("a reshard between any two maps moves every unit", "[exec][reshard]") {
  tests::Dice dice(1);
  const std::vector<ParamSpec> params = sharded_params(true, 0);
  const auto random_map = [&](std::int64_t num_units) {
    std::vector<std::vector<UnitRange>> ranges(static_cast<std::size_t>(dice.between(1, 5)));
    for (std::int64_t first = 0; first < num_units;) {
      const std::int64_t num = dice.between(1, std::min<std::int64_t>(5, num_units - first));
      ranges[dice.index(ranges.size())].push_back({first, num});
      first += num;
    }
    return ShardMap::from_ranges(ranges);
  };
  for (int round = 0; round < 60; ++round) {
    const ParamSpec& param = dice.pick(params);
    const ShardMap from = random_map(param.over_tp->num_units);
    const ShardMap to = random_map(param.over_tp->num_units);
    check_there_and_back<float>(param, from, to);
  }
}

TEST_CASE("a rank's shard is Megatron's: contiguous units, gate rows before up rows",
          "[exec][reshard]") {
  const std::vector<ParamSpec> params = sharded_params(true, 0);
  const auto fc1 = std::find_if(params.begin(), params.end(), [](const ParamSpec& param) {
    return param.name == "mlp.linear_fc1.weight";
  });
  REQUIRE(fc1 != params.end());
  const ShardMap map = ShardMap::contiguous(29, 4);  // 8 7 7 7
  const ParamSpec local = local_param(*fc1, map, TpRank(1));
  CHECK(local.shape == std::vector<std::int64_t>{14, 24});
  const std::vector<float> shard = shard_of<float>(*fc1, map, TpRank(1));
  for (std::size_t row = 0; row < 14; ++row) {
    const std::size_t whole_row = row < 7 ? 8 + row : 29 + 8 + row - 7;
    CHECK(shard[row * 24] == static_cast<float>(whole_row * 24));
  }
}

TEST_CASE("a reshard moves no byte more than core's transfers say", "[exec][reshard]") {
  for (const ParamSpec& param : sharded_params(true, 0)) {
    const auto maps = make_shard_maps(param.over_tp->num_units, 8, 6);
    REQUIRE(maps.has_value());
    const Reshard reshard = Reshard::between(maps->compute, maps->sync);
    const std::int64_t per_unit = param.num_elements() / param.over_tp->num_units;
    std::int64_t sent = 0;
    std::int64_t received = 0;
    for (std::int64_t rank = 0; rank < 8; ++rank) {
      const ParamReshard part(param, maps->compute, maps->sync, TpRank(rank));
      sent += part.num_sent();
      received += part.num_received();
    }
    CHECK(sent == reshard.num_units_moved() * per_unit);
    CHECK(received == sent);
  }
}

TEST_CASE("a reshard that loses a peer says so", "[exec][reshard]") {
  const std::vector<ParamSpec> params = sharded_params(true, 0);
  const ParamSpec& param = params.front();
  const auto maps = make_shard_maps(param.over_tp->num_units, 4, 3);
  REQUIRE(maps.has_value());
  std::vector<SyncStatus> status(4, SyncStatus::done);
  spawn(4, [&](ThreadRank& self) {
    Communicator& group = self.world;
    const TpRank rank(group.rank());
    if (group.rank() == 3) {
      return;
    }
    const ParamReshard reshard(param, maps->compute, maps->sync, rank);
    const std::vector<float> from = shard_of<float>(param, maps->compute, rank);
    std::vector<float> to = shard_of<float>(param, maps->sync, rank);
    std::vector<float> send(static_cast<std::size_t>(reshard.num_sent()));
    std::vector<float> recv(static_cast<std::size_t>(reshard.num_received()));
    status[rank.index()] = reshard.run({from.data(), to.data(), send.data(), recv.data(), 4},
                                       kernels::reshard_pack_reference,
                                       group,
                                       deadline_in(60s));
  });
  const Reshard reshard = Reshard::between(maps->compute, maps->sync);
  for (const Transfer& transfer : reshard.transfers()) {
    if (transfer.from == TpRank(3)) {
      CHECK(status[transfer.to.index()] == SyncStatus::peer_lost);
    }
  }
}

TEST_CASE("a reshard refuses replicated maps and maps of other units", "[exec][reshard]") {
  const std::vector<ParamSpec> params = sharded_params(true, 0);
  const ParamSpec& qkv = params.front();
  CHECK_THROWS_AS(
      ParamReshard(qkv, *ShardMap::replicated(8, 16), ShardMap::contiguous(8, 8), TpRank(0)),
      InvalidArgument);
  CHECK_THROWS_AS(
      ParamReshard(qkv, ShardMap::contiguous(9, 3), ShardMap::contiguous(9, 2), TpRank(0)),
      InvalidArgument);
  CHECK_THROWS_AS(
      ParamReshard(qkv, ShardMap::contiguous(8, 3), ShardMap::contiguous(8, 2), TpRank(3)),
      InvalidArgument);
}

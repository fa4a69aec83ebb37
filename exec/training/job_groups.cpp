#include "exec/training/job_groups.hpp"

#include "core/error.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <thread>

namespace runflat::exec {
namespace {

std::vector<Rank> ranks_of_cell(const ParallelLayout& layout, CellId cell) {
  std::vector<Rank> ranks;
  for (std::int64_t tp = 0; tp < layout.tp_size(cell); ++tp) {
    ranks.push_back(
        *layout.rank_of(Coordinate{.tp = TpRank(tp), .cp = cell.cp, .dp = cell.dp, .pp = cell.pp}));
  }
  return ranks;
}

std::vector<Rank> ranks_of_replica(const ParallelLayout& layout, CellId cell) {
  std::vector<Rank> ranks;
  for (std::int64_t pp = 0; pp < layout.sizes().pp; ++pp) {
    const auto stage = ranks_of_cell(layout, {.dp = cell.dp, .cp = cell.cp, .pp = PpRank(pp)});
    ranks.insert(ranks.end(), stage.begin(), stage.end());
  }
  return ranks;
}

}  // namespace

SyncStatus JobGroups::status() const {
  for (const auto* group : {&world, &tp, &dp, &mp}) {
    if (*group != nullptr && (*group)->status() != SyncStatus::done) {
      return (*group)->status();
    }
  }
  return SyncStatus::done;
}

std::optional<JobGroup> JobGroups::lost() const {
  const auto has_failed = [](const std::unique_ptr<Communicator>& group) {
    return group != nullptr && group->status() != SyncStatus::done;
  };
  return has_failed(tp)      ? std::optional(JobGroup::tp)
         : has_failed(dp)    ? std::optional(JobGroup::dp)
         : has_failed(mp)    ? std::optional(JobGroup::mp)
         : has_failed(world) ? std::optional(JobGroup::world)
                             : std::nullopt;
}

bool JobGroups::is_busy() const {
  for (const auto* group : {&world, &tp, &dp, &mp}) {
    if (*group != nullptr && (*group)->is_busy()) {
      return true;
    }
  }
  return false;
}

/// All at once: freeing one on a device waits for whatever runs there, also for operations of
/// another that only its own abort ends.
void JobGroups::abort() {
  std::vector<std::thread> threads;
  for (const auto* group : {&world, &tp, &dp, &mp}) {
    if (*group != nullptr) {
      threads.emplace_back([group] { (*group)->abort(); });
    }
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
}

std::vector<Rank> dp_peers(const ParallelLayout& layout, Rank rank) {
  const Coordinate& me = layout.coordinate_of(rank);
  std::vector<Rank> ranks;
  for (std::int64_t dp = 0; dp < layout.sizes().dp; ++dp) {
    for (std::int64_t cp = 0; cp < layout.sizes().cp; ++cp) {
      const auto peer =
          layout.rank_of(Coordinate{.tp = me.tp, .cp = CpRank(cp), .dp = DpRank(dp), .pp = me.pp});
      if (peer) {
        ranks.push_back(*peer);
      }
    }
  }
  return ranks;
}

std::int64_t mp_index(const ParallelLayout& layout, const Coordinate& coordinate) {
  std::int64_t index = coordinate.tp.value();
  for (std::int64_t pp = 0; pp < coordinate.pp.value(); ++pp) {
    index += layout.tp_size({.dp = coordinate.dp, .cp = coordinate.cp, .pp = PpRank(pp)});
  }
  return index;
}

JobGroups make_job_groups(const ParallelLayout& layout,
                          Rank rank,
                          Transport& transport,
                          std::int64_t generation,
                          std::chrono::milliseconds timeout) {
  const CellId cell = layout.coordinate_of(rank).cell();
  JobGroups groups;
  std::vector<GroupSpec> specs;
  std::vector<std::unique_ptr<Communicator>*> places;
  const auto add = [&](const char* kind,
                       const std::vector<Rank>& ranks,
                       std::unique_ptr<Communicator>& place,
                       std::int64_t most_channels = 0) {
    if (ranks.size() == 1) {
      return;
    }
    GroupSpec spec{.name = fmt::format("g{}/{}/{}", generation, kind, ranks.front().value()),
                   .members = {},
                   .timeout = timeout,
                   .most_channels = most_channels};
    for (const Rank member : ranks) {
      spec.members.push_back(layout.gpu_of(member).value());
    }
    specs.push_back(std::move(spec));
    places.push_back(&place);
  };
  std::vector<Rank> all;
  for (std::int64_t r = 0; r < layout.num_ranks(); ++r) {
    all.push_back(Rank(r));
  }
  add("world", all, groups.world, kFewChannels);
  add("dp_cp", dp_peers(layout, rank), groups.dp);
  if (layout.sizes().pp > 1) {
    add("mp", ranks_of_replica(layout, cell), groups.mp);
  }
  add("tp", ranks_of_cell(layout, cell), groups.tp);
  auto made = transport.make_groups(specs, deadline_in(timeout));
  for (std::size_t i = 0; i < specs.size(); ++i) {
    if (made[i] == nullptr) {
      throw PeerLost(fmt::format("not all of the {} ranks of group {} came within {} s",
                                 specs[i].members.size(),
                                 specs[i].name,
                                 static_cast<double>(timeout.count()) / 1000.0));
    }
    *places[i] = std::move(made[i]);
  }
  return groups;
}

}  // namespace runflat::exec

#include "core/transition.hpp"

#include "core/state_move.hpp"
#include "core/state_slice.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <map>
#include <tuple>

namespace runflat {
namespace {

constexpr std::int64_t kMostGpus = 1 << 24;
constexpr int kNumGroupKinds = static_cast<int>(GroupKind::intra_dist_opt_instance) + 1;
constexpr int kNumGroupActions = static_cast<int>(GroupAction::drop) + 1;

bool is_before(const StateMove& a, const StateMove& b) {
  return std::tuple(a.from, a.to) < std::tuple(b.from, b.to);
}

std::vector<StateMove> sum_by_pair(const std::vector<UnitMove>& units, const ModelSpec& model) {
  const std::vector<StateSlice> slices = state_slices(model);
  std::vector<StateMove> moves;
  for (auto move = units.begin(); move != units.end();) {
    const auto end = std::find_if(
        move, units.end(), [&](const UnitMove& other) { return other.to != move->to; });
    const auto first = static_cast<std::ptrdiff_t>(moves.size());
    for (; move != end; ++move) {
      const Bytes bytes{static_cast<double>(move->units.num * move->num_instances *
                                            slices[move->slice].elements_per_unit *
                                            kStateBytesPerParameter)};
      const auto same = std::find_if(moves.begin() + first, moves.end(), [&](const auto& other) {
        return other.from == move->from;
      });
      if (same == moves.end()) {
        moves.push_back({move->from, move->to, bytes});
      } else {
        same->bytes += bytes;
      }
    }
  }
  std::sort(moves.begin(), moves.end(), is_before);
  return moves;
}

/// The most that one GPU sends or receives by the moves for which `counts(move)`.
template <typename Counts>
Bytes most_of_one_gpu(const std::vector<StateMove>& moves, Counts counts) {
  std::map<GpuId, Bytes> sent;
  std::map<GpuId, Bytes> received;
  Bytes most{0.0};
  for (const StateMove& move : moves) {
    if (counts(move)) {
      sent[move.from] += move.bytes;
      received[move.to] += move.bytes;
      most = std::max({most, sent[move.from], received[move.to]});
    }
  }
  return most;
}

template <typename Enum>
std::vector<std::string_view> names(int num) {
  std::vector<std::string_view> all;
  for (int i = 0; i < num; ++i) {
    all.push_back(name_of(static_cast<Enum>(i)));
  }
  return all;
}

Value change_to_value(const CommunicatorChange& change) {
  Value out = Value::Object{{"kind", std::string(name_of(change.kind))},
                            {"action", std::string(name_of(change.action))}};
  if (change.old_group) {
    out.set("old_group", *change.old_group);
  }
  if (change.next_group) {
    out.set("next_group", *change.next_group);
  }
  if (!change.next_position.empty()) {
    out.set("next_position", Value::array_of(change.next_position));
  }
  return out;
}

/// Keep and shrink need every position of the next group once; the others have none.
void check_positions(const CommunicatorChange& change, const Reader& in) {
  const auto num_lost = std::count(change.next_position.begin(), change.next_position.end(), -1);
  const auto num_left = static_cast<std::int64_t>(change.next_position.size()) - num_lost;
  std::vector<bool> is_taken(change.next_position.size(), false);
  for (const std::int64_t position : change.next_position) {
    if (position >= num_left) {
      in.reject(fmt::format("position {} of {} members that are left", position, num_left));
    }
    if (position >= 0 && is_taken[static_cast<std::size_t>(position)]) {
      in.reject(fmt::format("position {} is given twice", position));
    }
    if (position >= 0) {
      is_taken[static_cast<std::size_t>(position)] = true;
    }
  }
  const bool goes_on = change.action == GroupAction::keep || change.action == GroupAction::shrink;
  if (goes_on != (num_left > 0) || (num_lost > 0) != (change.action == GroupAction::shrink)) {
    in.reject(fmt::format("{} with {} of {} members left",
                          name_of(change.action),
                          num_left,
                          change.next_position.size()));
  }
}

CommunicatorChange read_change(const Reader& in) {
  const auto index = [](const Reader& item) { return item.integer(0, kMostGpus * kNumGroupKinds); };
  ObjectReader members = in.object();
  CommunicatorChange change;
  change.kind = static_cast<GroupKind>(members.at("kind").choice(names<GroupKind>(kNumGroupKinds)));
  change.action =
      static_cast<GroupAction>(members.at("action").choice(names<GroupAction>(kNumGroupActions)));
  if (change.action != GroupAction::create) {
    change.old_group = index(members.at("old_group"));
  }
  if (change.action != GroupAction::drop) {
    change.next_group = index(members.at("next_group"));
  }
  change.next_position =
      read_or(members, "next_position", change.next_position, [](const Reader& item) {
        return item.integers(-1, kMostGpus);
      });
  members.finish();
  check_positions(change, in);
  return change;
}

StateMove read_move(const Reader& in) {
  ObjectReader members = in.object();
  const StateMove move{.from = GpuId(members.at("from").integer(0, kMostGpus)),
                       .to = GpuId(members.at("to").integer(0, kMostGpus)),
                       .bytes = Bytes{members.at("bytes").positive_number()}};
  members.finish();
  if (move.from == move.to) {
    in.reject(fmt::format("gpu{} sends to itself", move.from.value()));
  }
  return move;
}

}  // namespace

Bytes Transition::total_bytes() const {
  Bytes total{0.0};
  for (const StateMove& move : moves) {
    total += move.bytes;
  }
  return total;
}

Bytes Transition::most_within_domains(const ClusterSpec& cluster) const {
  return most_of_one_gpu(moves, [&](const StateMove& move) {
    return cluster.domain_of(move.from) == cluster.domain_of(move.to);
  });
}

Bytes Transition::most_between_domains(const ClusterSpec& cluster) const {
  return most_of_one_gpu(moves, [&](const StateMove& move) {
    return cluster.domain_of(move.from) != cluster.domain_of(move.to);
  });
}

Expected<Transition, Infeasible> make_transition(const Plan& old, const Plan& next) {
  const auto units = unit_moves(old, next);
  if (!units) {
    return units.error();
  }
  return Transition{.communicators = communicator_changes(old.layout, next.layout),
                    .moves = sum_by_pair(*units, next.model)};
}

Value to_value(const Transition& transition) {
  Value::Array communicators;
  communicators.reserve(transition.communicators.size());
  for (const CommunicatorChange& change : transition.communicators) {
    communicators.push_back(change_to_value(change));
  }
  Value::Array moves;
  moves.reserve(transition.moves.size());
  for (const StateMove& move : transition.moves) {
    moves.emplace_back(Value::Object{
        {"from", move.from.value()}, {"to", move.to.value()}, {"bytes", move.bytes.value}});
  }
  return Value::Object{{"schema", kTransitionSchema},
                       {"communicators", std::move(communicators)},
                       {"moves", std::move(moves)}};
}

Transition read_transition(const Reader& in) {
  ObjectReader members = in.object();
  const Reader schema = members.at("schema");
  if (schema.integer() != kTransitionSchema) {
    schema.fail(fmt::format("schema {}", kTransitionSchema));
  }
  Transition transition;
  for (const Reader& item : members.at("communicators").items()) {
    transition.communicators.push_back(read_change(item));
  }
  for (const Reader& item : members.at("moves").items()) {
    const StateMove move = read_move(item);
    if (!transition.moves.empty() && !is_before(transition.moves.back(), move)) {
      item.reject("moves must be in ascending order of (from, to), each pair once");
    }
    transition.moves.push_back(move);
  }
  members.finish();
  return transition;
}

}  // namespace runflat

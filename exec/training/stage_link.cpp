#include "exec/training/stage_link.hpp"

#include "exec/training/job_groups.hpp"
#include "exec/training/param_layout.hpp"
#include "exec/training/tensor_parallel.hpp"

namespace runflat::exec {
namespace {

/// The cells at the two ends of a link.
struct Ends {
  const ParallelLayout& layout;
  Coordinate me;
  PpRank other;
  std::int64_t seq_length;
  bool sequence_parallel;

  [[nodiscard]] std::int64_t tp_size(PpRank stage) const {
    return layout.tp_size({.dp = me.dp, .cp = me.cp, .pp = stage});
  }
  [[nodiscard]] bool is_split(PpRank stage) const {
    return sequence_parallel && tp_size(stage) > 1;
  }
  /// The positions that a rank holds.
  [[nodiscard]] ElementRange positions(PpRank stage, std::int64_t tp_rank) const {
    const TokenShape shape = make_token_shape(seq_length, 1, tp_size(stage), sequence_parallel);
    return {shape.first_position(tp_rank), shape.num_positions(tp_rank)};
  }
  /// What `receiver` gets from `sender`.
  [[nodiscard]] ElementRange passed(PpRank from,
                                    std::int64_t sender,
                                    PpRank to,
                                    std::int64_t receiver) const {
    if (!is_split(from) && sender != receiver % tp_size(from)) {
      return {};
    }
    return overlap(positions(from, sender), positions(to, receiver));
  }
  [[nodiscard]] StagePiece piece(std::int64_t peer, ElementRange range) const {
    const std::int64_t index =
        mp_index(layout, Coordinate{.tp = TpRank(peer), .cp = me.cp, .dp = me.dp, .pp = other});
    return {.peer = index,
            .first_position = range.first - positions(me.pp, me.tp.value()).first,
            .num_positions = range.num};
  }
};

/// The pieces that `passed(peer)` gives for the ranks of the other cell.
template <typename Passed>
std::vector<StagePiece> pieces_of(const Ends& ends, const Passed& passed) {
  std::vector<StagePiece> pieces;
  for (std::int64_t peer = 0; peer < ends.tp_size(ends.other); ++peer) {
    const ElementRange range = passed(peer);
    if (range.num > 0) {
      pieces.push_back(ends.piece(peer, range));
    }
  }
  return pieces;
}

}  // namespace

std::vector<StagePiece> pieces_to(const ParallelLayout& layout,
                                  const Coordinate& me,
                                  PpRank receiver,
                                  std::int64_t seq_length,
                                  bool sequence_parallel) {
  const Ends ends{layout, me, receiver, seq_length, sequence_parallel};
  return pieces_of(
      ends, [&](std::int64_t peer) { return ends.passed(me.pp, me.tp.value(), receiver, peer); });
}

std::vector<StagePiece> pieces_from(const ParallelLayout& layout,
                                    const Coordinate& me,
                                    PpRank sender,
                                    std::int64_t seq_length,
                                    bool sequence_parallel) {
  const Ends ends{layout, me, sender, seq_length, sequence_parallel};
  return pieces_of(
      ends, [&](std::int64_t peer) { return ends.passed(sender, peer, me.pp, me.tp.value()); });
}

}  // namespace runflat::exec

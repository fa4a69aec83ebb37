#pragma once

#include "core/id.hpp"
#include "core/layout.hpp"

#include <cstdint>
#include <vector>

namespace runflat::exec {

/// Positions of this rank's own part of a [s, b, h] tensor that go to, or come from, one rank of
/// another stage.
struct StagePiece {
  std::int64_t peer = 0;            ///< rank in the mp group
  std::int64_t first_position = 0;  ///< of the own part
  std::int64_t num_positions = 0;
};

/// How a tensor passes between the cells of two stages whose TP degrees, and so whose parts of the
/// sequence, may differ. Where all ranks of the sending cell hold the whole tensor, receivers take
/// it from them in turn. Pieces in the order of peers and positions, on both ends.
[[nodiscard]] std::vector<StagePiece> pieces_to(const ParallelLayout& layout,
                                                const Coordinate& me,
                                                PpRank receiver,
                                                std::int64_t seq_length,
                                                bool sequence_parallel);
[[nodiscard]] std::vector<StagePiece> pieces_from(const ParallelLayout& layout,
                                                  const Coordinate& me,
                                                  PpRank sender,
                                                  std::int64_t seq_length,
                                                  bool sequence_parallel);

}  // namespace runflat::exec

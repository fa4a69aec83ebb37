#pragma once

#include "core/id.hpp"

#include <cstdint>
#include <vector>

namespace runflat {

/// The pipeline stage of every layer. The layers fill the pp * vpp virtual stages in order, and
/// virtual stage k belongs to stage k % pp. Where the layers do not divide, every virtual stage has
/// one of two sizes that differ by one, and the smaller ones stand at the two ends of the model,
/// where the embedding and the output layer need room: the last one first, then the first one, and
/// so on. (126 layers on 128 virtual stages leave the first and the last one without a layer.)
[[nodiscard]] std::vector<PpRank> stages_of_layers(std::int64_t num_layers,
                                                   std::int64_t pp,
                                                   std::int64_t vpp);

}  // namespace runflat

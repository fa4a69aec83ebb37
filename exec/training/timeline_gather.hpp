#pragma once

#include "core/timeline.hpp"
#include "exec/communication/communicator.hpp"
#include "exec/device/device.hpp"

namespace runflat::exec {

/// The spans of all ranks, those of each in the order of `own`; the same on all. Every rank of
/// `world` (nullptr in a job of one rank) calls it. Where a peer is lost, world->status() says so
/// and only the own spans come back.
[[nodiscard]] Timeline gather_timeline(Device& device, Communicator* world, const Timeline& own);

}  // namespace runflat::exec

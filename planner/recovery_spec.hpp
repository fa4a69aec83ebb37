#pragma once

#include "core/reader.hpp"
#include "core/units.hpp"
#include "sim/fault_timeline.hpp"

#include <array>
#include <cstdint>
#include <optional>

namespace runflat::planner {

enum class CheckpointKind : std::uint8_t {
  synchronous,   ///< training stands still until the state is in storage
  asynchronous,  ///< it stands still for a snapshot, which goes to storage in the background
  in_memory,     ///< snapshots stay in the memory of two hosts; now and then one goes to storage
};

enum class IntervalRule : std::uint8_t {
  young,     ///< sqrt(2 C M)
  daly,      ///< its higher order
  adaptive,  ///< Young's for the failures as they show, starting from the scenario's
};

/// Checkpoints. Blocking costs by kind: 20 s, 0.5 s, 0.04 s (reported by netcap, PyTorch DCP,
/// ByteRobust). Rates: 405B saved in 173 s and read in 117 s (Orbax, arXiv 2605.23066).
struct CheckpointSpec {
  CheckpointKind kind = CheckpointKind::synchronous;
  Seconds cost{20.0};               ///< how long training stands still
  std::optional<Seconds> interval;  ///< none: by `rule`, for the failures that roll the policy back
  IntervalRule rule = IntervalRule::young;
  Seconds longest_interval{3600.0};
  Seconds stored_interval{1800.0};  ///< in_memory: between snapshots that go to storage
  double save_GBps = 33.0;          ///< of the whole job, to storage
  double load_GBps = 48.0;
  /// in_memory: after faults of which radius the snapshots are still there.
  std::array<bool, sim::kNumBlastRadii> survives = {true, true, false, true};
};

enum class Communicators : std::uint8_t { shrink, reinitialise };
enum class RejoinRule : std::uint8_t { always, when_it_pays };
enum class BatchRule : std::uint8_t { flexible, fixed };

/// What recovery takes. Defaults: reference values of published systems, see the README.
struct RecoverySpec {
  Seconds detect_crash{5.0};
  Seconds detect_hang{60.0};
  Seconds detect_timeout{600.0};  ///< where only the collectives' own timeout notices
  Seconds restart{600.0};         ///< requeue, start, load the checkpoint, warm up
  /// Requeue and start alone: a restart is then this, the load of the checkpoint by its bytes, new
  /// communicators and the warm-up, in place of `restart`.
  std::optional<Seconds> start;
  Seconds spare_swap{300.0};     ///< a cold spare domain is started and takes over in place
  Seconds standby_swap{20.0};    ///< a hot one, warm and connected, takes over in place
  bool hot_spares = false;       ///< of policy spare_domain
  Seconds rejoin{180.0};         ///< a repaired replica is let in
  Seconds quiesce{0.5};          ///< stop and abort what is in flight
  Seconds quiesce_pending{0.0};  ///< more of it: 0.01 s for each pending operation in NVRx
  Communicators communicators = Communicators::shrink;
  Seconds communicator_base{0.69};  ///< shrink: base + per_doubling * log2(ranks) (NeMo-RL)
  Seconds communicator_per_doubling{0.132};
  Seconds communicator_init{2.0};          ///< reinitialise: this + init_at_96k (ranks / 98,304)^2
  Seconds communicator_init_at_96k{26.0};  ///< before NCCL 2.28.7
  Seconds state_copy_base{1.0};            ///< + bytes / bandwidth
  double state_copy_GBps = 25.0;           ///< of one GPU, over the network
  double nvlink_copy_GBps = 300.0;         ///< of one GPU, inside its domain
  Seconds warm_up{12.7};
  /// Every piece of state lives on two DP ranks (plain DP, or ZeRO-1 with buddies), so that losing
  /// GPUs loses no committed step. Without it every policy goes back to the last checkpoint.
  bool peer_state = true;
  RejoinRule rejoin_rule = RejoinRule::always;  ///< ntp, ntp_pw and adaptive: when it pays
  BatchRule batch = BatchRule::flexible;        ///< fixed: the job waits rather than train on less
};

[[nodiscard]] CheckpointSpec read_checkpoint(const Reader& in);
[[nodiscard]] RecoverySpec read_recovery(const Reader& in);

}  // namespace runflat::planner

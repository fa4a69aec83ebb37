#pragma once

#include "sim/sim_time.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace runflat::sim {

/// Where a GPU's time went. Every GPU that the job owns is charged to exactly one cause at every
/// moment.
enum class Cause : std::uint8_t {
  useful,      ///< training that was kept
  degraded,    ///< the part of a running GPU's time that a reduced plan cannot use
  checkpoint,  ///< blocked while a checkpoint is written
  lost_work,   ///< training that was rolled back and had to be redone
  detection,   ///< between a fault and its discovery
  recovery,    ///< restart, communicators, state movement, warm-up, rejoin
  waiting,     ///< the job cannot run until something is repaired
  idle,        ///< healthy, and no plan has a use for it (a dropped replica, TP parity)
  failed,      ///< down
  spare,       ///< healthy reserve
};
inline constexpr std::size_t kNumCauses = 10;

[[nodiscard]] std::string_view to_string(Cause cause);

/// GPU time by cause in whole GPU-milliseconds, so that the parts sum exactly to
/// GPUs x wall-clock time. Holds 10^6 GPUs for 290 years.
class GpuTimeLedger {
 public:
  void add(Cause cause, std::int64_t num_gpus, SimTime span) {
    add_gpu_ms(cause, num_gpus * span.count());
  }
  void add_gpu_ms(Cause cause, std::int64_t gpu_ms) {
    gpu_ms_[static_cast<std::size_t>(cause)] += gpu_ms;
  }
  /// Charges time again to another cause; never more than `from` holds.
  void move_gpu_ms(Cause from, Cause to, std::int64_t gpu_ms);

  [[nodiscard]] std::int64_t gpu_ms(Cause cause) const {
    return gpu_ms_[static_cast<std::size_t>(cause)];
  }
  [[nodiscard]] double gpu_hours(Cause cause) const {
    return static_cast<double>(gpu_ms(cause)) / 3.6e6;
  }
  [[nodiscard]] std::int64_t total_gpu_ms() const;

  friend bool operator==(const GpuTimeLedger&, const GpuTimeLedger&) = default;

 private:
  std::array<std::int64_t, kNumCauses> gpu_ms_{};
};

}  // namespace runflat::sim

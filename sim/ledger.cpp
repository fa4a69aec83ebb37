#include "sim/ledger.hpp"

#include "core/error.hpp"

#include <numeric>

namespace runflat::sim {

std::string_view to_string(Cause cause) {
  switch (cause) {
    case Cause::useful:
      return "useful";
    case Cause::degraded:
      return "degraded";
    case Cause::checkpoint:
      return "checkpoint";
    case Cause::lost_work:
      return "lost_work";
    case Cause::detection:
      return "detection";
    case Cause::recovery:
      return "recovery";
    case Cause::waiting:
      return "waiting";
    case Cause::idle:
      return "idle";
    case Cause::failed:
      return "failed";
    case Cause::spare:
      return "spare";
  }
  return {};
}

void GpuTimeLedger::move_gpu_ms(Cause from, Cause to, std::int64_t gpu_ms) {
  require(gpu_ms >= 0 && gpu_ms <= this->gpu_ms(from),
          "a ledger cannot move what it does not hold");
  add_gpu_ms(from, -gpu_ms);
  add_gpu_ms(to, gpu_ms);
}

std::int64_t GpuTimeLedger::total_gpu_ms() const {
  return std::accumulate(gpu_ms_.begin(), gpu_ms_.end(), std::int64_t{0});
}

}  // namespace runflat::sim

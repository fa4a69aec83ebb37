#include "exec/device/profiler_ranges.hpp"

#include <nvtx3/nvToolsExt.h>

namespace runflat::exec {

void ProfilerRanges::next(const char* name) {
  end();
  nvtxRangePushA(name);
  is_open_ = true;
}

void ProfilerRanges::end() {
  if (is_open_) {
    nvtxRangePop();
    is_open_ = false;
  }
}

}  // namespace runflat::exec

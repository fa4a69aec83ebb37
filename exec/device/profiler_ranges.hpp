#pragma once

namespace runflat::exec {

/// Ranges that follow each other on the calling thread's row of a profiler (NVTX). Costs next to
/// nothing without a profiler, and nothing in a build without CUDA.
class ProfilerRanges {
 public:
  /// Ends the open range, and opens one with this name.
  void next(const char* name);
  void end();

 private:
  bool is_open_ = false;
};

}  // namespace runflat::exec

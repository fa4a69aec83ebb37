#pragma once

#include "sim/fault_timeline.hpp"

#include <cstddef>
#include <cstdint>
#include <vector>

namespace runflat::sim {

/// How many components are down at a moment: those that any fault holds.
class DownNow {
 public:
  explicit DownNow(std::int32_t num_components)
      : num_faults_(static_cast<std::size_t>(num_components), 0) {}

  /// So many more faults hold each of these.
  void change(ComponentRange range, std::int32_t num_faults) {
    for (std::int32_t i = range.first; i < range.first + range.num; ++i) {
      std::int32_t& count = num_faults_[static_cast<std::size_t>(i)];
      num_down_ -= count > 0 ? 1 : 0;
      count += num_faults;
      num_down_ += count > 0 ? 1 : 0;
    }
  }

  [[nodiscard]] std::int32_t num_down() const { return num_down_; }

 private:
  std::vector<std::int32_t> num_faults_;
  std::int32_t num_down_ = 0;
};

}  // namespace runflat::sim

#pragma once

#include "sim/sim_time.hpp"

#include <algorithm>
#include <cstddef>
#include <functional>
#include <span>
#include <vector>

namespace runflat::sim {

/// Puts items that come in any order into the order of `begin` (ties by the whole item), window by
/// window. Only what begins after the present window waits in memory.
template <typename Item>
class WaitingItems {
 public:
  /// Starts the window of all that begins before `end`, which never goes back.
  void open(SimTime end) {
    end_ = end;
    window_.clear();
    while (!later_.empty() && later_.front().begin < end_) {
      std::pop_heap(later_.begin(), later_.end(), std::greater<>());
      window_.push_back(later_.back());
      later_.pop_back();
    }
  }

  /// Must not begin before the present window.
  void add(const Item& item) {
    if (item.begin < end_) {
      window_.push_back(item);
    } else {
      later_.push_back(item);
      std::push_heap(later_.begin(), later_.end(), std::greater<>());
    }
  }

  /// All of the window, until the next open().
  [[nodiscard]] std::span<const Item> close() {
    std::sort(window_.begin(), window_.end());
    return window_;
  }

  [[nodiscard]] std::size_t num_held() const { return window_.size() + later_.size(); }

 private:
  std::vector<Item> window_;
  std::vector<Item> later_;  // a heap, earliest first
  SimTime end_ = -kNever;
};

}  // namespace runflat::sim

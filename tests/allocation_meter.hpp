#pragma once

#include <cstddef>

namespace runflat::tests {

/// The most bytes that operator new held at once, over those at construction. Programs that link
/// allocation_meter.cpp count them; one meter at a time.
class AllocationMeter {
 public:
  AllocationMeter();
  [[nodiscard]] std::size_t peak() const;

 private:
  std::ptrdiff_t start_;
};

}  // namespace runflat::tests

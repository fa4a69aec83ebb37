#include "tests/allocation_meter.hpp"

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <malloc.h>
#include <new>

namespace {

std::atomic<std::ptrdiff_t> in_use{0};
std::atomic<std::ptrdiff_t> most{0};

void count(std::ptrdiff_t bytes) {
  const std::ptrdiff_t now = in_use.fetch_add(bytes, std::memory_order_relaxed) + bytes;
  std::ptrdiff_t before = most.load(std::memory_order_relaxed);
  while (now > before && !most.compare_exchange_weak(before, now, std::memory_order_relaxed)) {
  }
}

}  // namespace

void* operator new(std::size_t size) {
  void* const memory = std::malloc(size);
  if (memory == nullptr) {
    throw std::bad_alloc();
  }
  count(static_cast<std::ptrdiff_t>(malloc_usable_size(memory)));
  return memory;
}

void operator delete(void* memory) noexcept {
  if (memory != nullptr) {
    count(-static_cast<std::ptrdiff_t>(malloc_usable_size(memory)));
    std::free(memory);
  }
}

void operator delete(void* memory, std::size_t) noexcept {
  operator delete(memory);
}

namespace runflat::tests {

AllocationMeter::AllocationMeter() : start_(in_use.load()) {
  most.store(start_);
}

std::size_t AllocationMeter::peak() const {
  return static_cast<std::size_t>(std::max<std::ptrdiff_t>(0, most.load() - start_));
}

}  // namespace runflat::tests

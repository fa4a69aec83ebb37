// Hopper's copy engine: one thread asks for a whole row, which lands in shared memory while the
// others compute; an mbarrier says when.

#pragma once

#include <cstdint>

namespace runflat::kernels {

__device__ __forceinline__ std::uint32_t shared_address(const void* pointer) {
  return static_cast<std::uint32_t>(__cvta_generic_to_shared(pointer));
}

/// A barrier that is passed, once a phase, when the bytes that its one thread announced are there.
class CopyBarrier {
 public:
  __device__ __forceinline__ void init() {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], 1;" ::"r"(shared_address(&state_))
                 : "memory");
  }
  /// After init() of all barriers, before the first copy.
  static __device__ __forceinline__ void fence_init() {
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
  }
  __device__ __forceinline__ void expect(std::uint32_t bytes) {
    asm volatile(
        "mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(&state_)),
        "r"(bytes)
        : "memory");
  }
  /// Starts a copy to shared memory: addresses and bytes are multiples of 16.
  __device__ __forceinline__ void copy(void* to, const void* from, std::uint32_t bytes) {
    asm volatile(
        "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::
            "r"(shared_address(to)),
        "l"(from),
        "r"(bytes),
        "r"(shared_address(&state_))
        : "memory");
  }
  /// Waits for the phase, which counts 0, 1, 0, ...
  __device__ __forceinline__ void wait(std::uint32_t phase) {
    asm volatile(
        "{\n"
        ".reg .pred done;\n"
        "again:\n"
        "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
        "@!done bra again;\n"
        "}\n" ::"r"(shared_address(&state_)),
        "r"(phase)
        : "memory");
  }

 private:
  std::uint64_t state_;
};

}  // namespace runflat::kernels

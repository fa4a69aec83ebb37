#pragma once

#include "exec/device/device.hpp"

#include <memory>
#include <stdexcept>
#include <string>

namespace runflat::exec {

/// What was asked for is not there: the text is one line and names what is missing.
class Unavailable : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// GPUs of this host; 0 without a driver, and in a build without CUDA.
[[nodiscard]] int count_gpus();

/// GPU `index` of this host. `tunes` matrix products: the algorithms of each shape are timed when
/// it first occurs, and kept for the next run; otherwise the library's first choice is taken.
/// Unavailable without a GPU, or in a build without CUDA.
[[nodiscard]] std::unique_ptr<Device> make_cuda_device(int index, bool tunes = true);

/// What the driver calls it, as "NVIDIA H200"; there is such a GPU.
[[nodiscard]] std::string gpu_name(int index);

}  // namespace runflat::exec

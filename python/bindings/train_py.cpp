#include "core/document.hpp"
#include "core/plan.hpp"
#include "exec/communication/nccl_transport.hpp"
#include "exec/device/gpu_sampler.hpp"
#include "exec/device/make_device.hpp"
#include "exec/job/launch_environment.hpp"
#include "exec/job/train_config.hpp"
#include "python/bindings/module.hpp"

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>
#include <pybind11/stl/filesystem.h>

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

namespace py = pybind11;

namespace runflat::python {
namespace {

constexpr auto kSampleInterval = std::chrono::milliseconds(50);

std::int64_t train_world_size(const std::filesystem::path& config,
                              const std::vector<std::string>& overrides) {
  return exec::load_train_config(config, overrides).plan.layout.num_ranks();
}

/// The plan of the job, and the document that it was read from as JSON.
std::pair<Plan, std::string> train_job(const std::filesystem::path& config,
                                       const std::vector<std::string>& overrides) {
  exec::TrainConfig job = exec::load_train_config(config, overrides);
  return {std::move(job.plan), to_json_text(job.document)};
}

/// The launcher that has started this process as one of several ranks.
std::optional<std::string> launcher() {
  const auto place = exec::read_launch_place(&exec::process_environment);
  return place ? std::optional(place->launcher) : std::nullopt;
}

using SampleRow = std::tuple<double, std::int64_t, double, double>;

std::vector<SampleRow> stop(exec::GpuSampler& sampler) {
  std::vector<SampleRow> rows;
  for (const exec::GpuSample& sample : sampler.stop()) {
    const std::chrono::duration<double> time = sample.time.time_since_epoch();
    rows.emplace_back(time.count(), sample.gpu, sample.watts, sample.sm_mhz);
  }
  return rows;
}

}  // namespace

void bind_train(py::module_& m) {
  m.def("train_world_size", &train_world_size, py::arg("config"), py::arg("overrides"));
  m.def("train_job", &train_job, py::arg("config"), py::arg("overrides"));
  m.def("launcher", &launcher);
  m.def("count_gpus", &exec::count_gpus);
  m.def("gpu_versions", &exec::gpu_versions);
  py::class_<exec::GpuSampler>(m, "GpuSampler")
      .def(py::init([](std::int64_t num_gpus) {
             return std::make_unique<exec::GpuSampler>(num_gpus, kSampleInterval);
           }),
           py::arg("num_gpus"))
      .def("stop", &stop);
}

}  // namespace runflat::python

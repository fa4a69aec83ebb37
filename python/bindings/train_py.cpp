#include "core/document.hpp"
#include "core/plan.hpp"
#include "exec/launch_environment.hpp"
#include "exec/make_device.hpp"
#include "exec/train_config.hpp"
#include "python/bindings/module.hpp"

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>
#include <pybind11/stl/filesystem.h>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace py = pybind11;

namespace runflat::python {
namespace {

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

}  // namespace

void bind_train(py::module_& m) {
  m.def("train_world_size", &train_world_size, py::arg("config"), py::arg("overrides"));
  m.def("train_job", &train_job, py::arg("config"), py::arg("overrides"));
  m.def("launcher", &launcher);
  m.def("count_gpus", &exec::count_gpus);
  m.def("gpu_versions", &exec::gpu_versions);
}

}  // namespace runflat::python

#include "core/error.hpp"
#include "exec/checkpoint/checkpoint_folder.hpp"
#include "exec/checkpoint/checkpoint_part.hpp"
#include "exec/checkpoint/checkpoint_reader.hpp"
#include "python/bindings/aggregate.hpp"
#include "python/bindings/module.hpp"

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>
#include <pybind11/stl/filesystem.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <tuple>
#include <vector>

namespace py = pybind11;

namespace runflat::python {
namespace {

using Doubles = py::array_t<double, py::array::c_style | py::array::forcecast>;
using Floats = py::array_t<float, py::array::c_style | py::array::forcecast>;

template <typename T>
py::array_t<T> read(exec::CheckpointReader& reader, const std::string& name, std::int64_t num) {
  py::array_t<T> values(num);
  reader.read(name,
              exec::StateKind::param,
              0,
              std::span<T>(values.mutable_data(), static_cast<std::size_t>(num)));
  return values;
}

/// All elements of a parameter in unit-major order, of the type that they are stored in.
py::array read_param(exec::CheckpointReader& reader, const std::string& name) {
  for (const exec::CheckpointParam& param : reader.index().params) {
    if (param.name == name) {
      return reader.index().header.state_type() == exec::DataType::fp64
                 ? py::array(read<double>(reader, name, param.num_elements()))
                 : py::array(read<float>(reader, name, param.num_elements()));
    }
  }
  throw py::key_error(name);
}

py::list shapes_of(const std::vector<exec::CheckpointParam>& params) {
  py::list shapes;
  for (const exec::CheckpointParam& param : params) {
    shapes.append(py::make_tuple(param.name, param.shape));
  }
  return shapes;
}

ModelSpec model_of(const py::dict& values) {
  const Value value = from_python(values, "model");
  return read_model(Reader(value, "model"));
}

std::span<const std::byte> bytes_of(const py::array& array) {
  return {static_cast<const std::byte*>(array.data()), static_cast<std::size_t>(array.nbytes())};
}

void write_part(const std::filesystem::path& folder,
                const exec::CheckpointHeader& header,
                const py::function& values_of) {
  std::vector<exec::PartRange> ranges;
  for (const exec::CheckpointParam& param : exec::checkpoint_params(header.model)) {
    ranges.push_back({.param = param.name, .elements = {0, param.num_elements()}});
  }
  exec::CheckpointPart part(folder, 0, header, ranges);
  for (const exec::PartRange& range : ranges) {
    const py::object values = values_of(range.param);
    const py::array array = header.state_type() == exec::DataType::fp64
                                ? py::array(values.cast<Doubles>())
                                : py::array(values.cast<Floats>());
    require(array.size() == range.elements.num, "values for every element of " + range.param);
    part.write(bytes_of(array));
  }
  part.publish();
}

/// A checkpoint of weights alone: `values_of(name)` gives each parameter's, in unit-major order.
void write_checkpoint(const std::filesystem::path& folder,
                      const py::dict& header_values,
                      const py::function& values_of) {
  const Value value = from_python(header_values, "checkpoint");
  const exec::CheckpointHeader header = exec::read_header(Reader(value, "checkpoint"));
  const std::int64_t step = header.progress.steps;
  const exec::CheckpointFolder to(folder);
  to.start(step, 0);
  try {
    write_part(to.parts_folder(step, 0), header, values_of);
    to.commit(header, 0, 0);
  } catch (...) {
    to.give_up(step, 0);
    throw;
  }
}

py::array read_tensor(const exec::SafetensorsFile& file, const std::string& name) {
  const std::span<const std::byte> data = file.data(file.index_of(name));
  return py::array_t<std::uint8_t>(static_cast<py::ssize_t>(data.size()),
                                   reinterpret_cast<const std::uint8_t*>(data.data()));
}

using TensorTuple = std::tuple<std::string, std::string, std::vector<std::int64_t>>;

std::vector<TensorTuple> tensors_of(const exec::SafetensorsFile& file) {
  std::vector<TensorTuple> tensors;
  for (const exec::SafetensorsTensor& tensor : file.tensors()) {
    tensors.emplace_back(tensor.name, tensor.dtype, tensor.shape);
  }
  return tensors;
}

/// `data_of(name)` gives each tensor's bytes as an array.
void write_safetensors(const std::filesystem::path& path,
                       const std::vector<TensorTuple>& tensors,
                       const exec::SafetensorsMetadata& metadata,
                       const py::function& data_of) {
  std::vector<exec::SafetensorsTensor> all;
  for (const auto& [name, dtype, shape] : tensors) {
    all.push_back({.name = name, .dtype = dtype, .shape = shape});
  }
  exec::SafetensorsWriter writer(path, all, metadata);
  for (const exec::SafetensorsTensor& tensor : all) {
    const auto array = py::array::ensure(data_of(tensor.name), py::array::c_style);
    writer.write(bytes_of(array));
  }
  writer.publish();
}

}  // namespace

void bind_checkpoint(py::module_& m) {
  py::class_<exec::CheckpointReader>(m, "Checkpoint")
      .def(py::init<const std::filesystem::path&>(), py::arg("path"))
      .def_property_readonly("path", &exec::CheckpointReader::path)
      .def_property_readonly("header",
                             [](const exec::CheckpointReader& self) {
                               return to_python(exec::to_value(self.index().header));
                             })
      .def_property_readonly(
          "params",
          [](const exec::CheckpointReader& self) { return shapes_of(self.index().params); })
      .def("read", &read_param, py::arg("param"))
      .def("verify", &exec::CheckpointReader::verify);
  m.def(
      "complete_model",
      [](const py::dict& model) { return to_python(to_value(model_of(model))); },
      py::arg("model"));
  m.def(
      "model_params",
      [](const py::dict& model) { return shapes_of(exec::checkpoint_params(model_of(model))); },
      py::arg("model"));
  m.def("write_checkpoint",
        &write_checkpoint,
        py::arg("folder"),
        py::arg("header"),
        py::arg("values_of"));
  py::class_<exec::SafetensorsFile>(m, "SafetensorsFile")
      .def(py::init<std::filesystem::path>(), py::arg("path"))
      .def_property_readonly("tensors", &tensors_of)
      .def_property_readonly("metadata", &exec::SafetensorsFile::metadata)
      .def("read", &read_tensor, py::arg("name"));
  m.def("write_safetensors",
        &write_safetensors,
        py::arg("path"),
        py::arg("tensors"),
        py::arg("metadata"),
        py::arg("data_of"));
}

}  // namespace runflat::python

#include "core/error.hpp"
#include "exec/data/indexed_dataset.hpp"
#include "exec/data/indexed_dataset_writer.hpp"
#include "python/bindings/module.hpp"

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>
#include <pybind11/stl/filesystem.h>

#include <cstddef>
#include <cstdint>
#include <exception>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace py = pybind11;

namespace runflat::python {
namespace {

using Tokens = py::array_t<std::int64_t, py::array::c_style | py::array::forcecast>;

/// A context manager: leaving the block publishes the files, an exception gives them up.
class DatasetWriter {
 public:
  DatasetWriter(std::filesystem::path prefix, std::int64_t vocab_size)
      : writer_(std::make_unique<exec::IndexedDatasetWriter>(std::move(prefix),
                                                             exec::token_type_for(vocab_size))) {}

  void add_documents(const Tokens& tokens, const std::vector<std::int64_t>& lengths) {
    require(writer_ != nullptr, "the data set is written already");
    std::span<const std::int64_t> rest(tokens.data(), static_cast<std::size_t>(tokens.size()));
    for (const std::int64_t length : lengths) {
      require(length >= 0 && std::cmp_less_equal(length, rest.size()), "lengths beyond the tokens");
      writer_->add_document(rest.first(static_cast<std::size_t>(length)));
      rest = rest.subspan(static_cast<std::size_t>(length));
    }
    require(rest.empty(), "tokens beyond the lengths");
  }

  void leave(const py::object& type, const py::object& /*error*/, const py::object& /*trace*/) {
    const std::unique_ptr<exec::IndexedDatasetWriter> writer = std::move(writer_);
    if (type.is_none() && writer != nullptr) {
      writer->publish();
    }
  }

 private:
  std::unique_ptr<exec::IndexedDatasetWriter> writer_;
};

/// What the system refuses is an OSError with number, reason and file, as Python's own.
void translate_system_error(std::exception_ptr pointer) {
  try {
    if (pointer) {
      std::rethrow_exception(pointer);
    }
  } catch (const std::filesystem::filesystem_error& error) {
    const py::tuple arguments =
        py::make_tuple(error.code().value(), error.code().message(), error.path1().string());
    PyErr_SetObject(PyExc_OSError, arguments.ptr());
  }
}

}  // namespace

void bind_data(py::module_& m) {
  py::register_local_exception_translator(&translate_system_error);
  py::class_<DatasetWriter>(m, "DatasetWriter")
      .def(py::init<std::filesystem::path, std::int64_t>(),
           py::arg("prefix"),
           py::kw_only(),
           py::arg("vocab_size"))
      .def("add_documents", &DatasetWriter::add_documents, py::arg("tokens"), py::arg("lengths"))
      .def("__enter__", [](py::object self) { return self; })
      .def("__exit__", &DatasetWriter::leave);
  py::class_<exec::IndexedDataset>(m, "IndexedDataset")
      .def(py::init<std::filesystem::path>(), py::arg("prefix"))
      .def_property_readonly("token_type",
                             [](const exec::IndexedDataset& self) {
                               return std::string(exec::to_string(self.token_type()));
                             })
      .def_property_readonly("num_sequences", &exec::IndexedDataset::num_sequences)
      .def_property_readonly("num_documents", &exec::IndexedDataset::num_documents)
      .def_property_readonly("num_tokens", &exec::IndexedDataset::num_tokens);
}

}  // namespace runflat::python

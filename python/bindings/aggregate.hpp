#pragma once

#include "core/document.hpp"
#include "core/reader.hpp"
#include "core/value.hpp"

#include <pybind11/operators.h>
#include <pybind11/pybind11.h>

#include <string>
#include <string_view>

namespace runflat::python {

/// Plain Python data (dicts, lists, numbers, text) as a Value, and back.
[[nodiscard]] Value from_python(pybind11::handle object, std::string_view name);
[[nodiscard]] pybind11::object to_python(const Value& value);

/// `Name(key=value, ...)`.
[[nodiscard]] std::string repr(std::string_view name, const Value& value);

/// Binds a value type that has a reader and a writer. Its constructor takes the keys of the
/// scenario file as keywords and makes the reader's checks; attributes are for the caller to add.
template <typename T>
pybind11::class_<T> bind_aggregate(pybind11::module_& m,
                                   const char* name,
                                   T (*read)(const Reader&),
                                   Value (*write)(const T&)) {
  namespace py = pybind11;
  const auto from_value = [name, read](const Value& value) { return read(Reader(value, name)); };
  return py::class_<T>(m, name)
      .def(py::init([name, from_value](const py::kwargs& members) {
        return from_value(from_python(members, name));
      }))
      .def_static(
          "from_json",
          [name, from_value](std::string_view text) { return from_value(parse_json(text, name)); },
          py::arg("text"))
      .def("to_json", [write](const T& self) { return to_json_text(write(self)); })
      .def("__repr__", [name, write](const T& self) { return repr(name, write(self)); })
      .def(py::self == py::self);
}

}  // namespace runflat::python

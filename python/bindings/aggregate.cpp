#include "python/bindings/aggregate.hpp"

namespace py = pybind11;

namespace runflat::python {

Value from_python(py::handle object, std::string_view name) {
  const py::object dumps = py::module_::import("json").attr("dumps");
  return parse_json(dumps(object, py::arg("allow_nan") = false).cast<std::string>(), name);
}

py::object to_python(const Value& value) {
  return py::module_::import("json").attr("loads")(to_json_text(value, -1));
}

std::string repr(std::string_view name, const Value& value) {
  std::string text;
  for (const auto& [key, item] : to_python(value).cast<py::dict>()) {
    text += (text.empty() ? "" : ", ") + key.cast<std::string>() + "=" +
            py::repr(item).cast<std::string>();
  }
  return std::string(name) + "(" + text + ")";
}

}  // namespace runflat::python

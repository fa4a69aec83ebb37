#include "python/bindings/scenario_py.hpp"

#include "core/document.hpp"
#include "core/override.hpp"
#include "core/reader.hpp"
#include "python/bindings/module.hpp"

#include <pybind11/operators.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>
#include <pybind11/stl/filesystem.h>

namespace py = pybind11;

namespace runflat::python {

namespace {

LoadedScenario make_scenario(Value document,
                             const std::string& file,
                             const std::vector<std::string>& overrides) {
  for (const std::string& assignment : overrides) {
    apply_override(document, assignment);
  }
  planner::Scenario scenario = planner::read_scenario(Reader(document, file));
  return {std::move(scenario), std::move(document), file};
}

LoadedScenario from_json(std::string_view text, const std::string& file) {
  return make_scenario(parse_json(text, file), file, {});
}

}  // namespace

LoadedScenario load_scenario(const std::filesystem::path& file,
                             const std::vector<std::string>& overrides) {
  return make_scenario(read_document(file), file.string(), overrides);
}

void bind_scenario(py::module_& m) {
  py::class_<LoadedScenario>(m, "Scenario")
      .def_property_readonly("name", [](const LoadedScenario& self) { return self.scenario.name; })
      .def_property_readonly("description",
                             [](const LoadedScenario& self) { return self.scenario.description; })
      .def_property_readonly("cluster",
                             [](const LoadedScenario& self) { return self.scenario.cluster; })
      .def_property_readonly("model",
                             [](const LoadedScenario& self) { return self.scenario.model; })
      .def_property_readonly("layout",
                             [](const LoadedScenario& self) { return self.scenario.layout; })
      .def_property_readonly(
          "software_release",
          [](const LoadedScenario& self) { return self.scenario.software_release; })
      .def(
          "with_overrides",
          [](const LoadedScenario& self, const std::vector<std::string>& overrides) {
            return make_scenario(self.document, self.file, overrides);
          },
          py::arg("overrides"))
      .def_static(
          "from_json",
          [](std::string_view text) { return from_json(text, "Scenario"); },
          py::arg("text"))
      .def("to_json", [](const LoadedScenario& self) { return to_json_text(self.document); })
      .def("__repr__",
           [](const LoadedScenario& self) { return "Scenario('" + self.scenario.name + "')"; })
      .def(py::self == py::self)
      .def(py::pickle(
          [](const LoadedScenario& self) {
            return py::make_tuple(to_json_text(self.document), self.file);
          },
          [](const py::tuple& state) {
            return from_json(state[0].cast<std::string>(), state[1].cast<std::string>());
          }));
  m.def("read_scenario",
        &load_scenario,
        py::arg("file"),
        py::arg("overrides") = std::vector<std::string>());
}

}  // namespace runflat::python

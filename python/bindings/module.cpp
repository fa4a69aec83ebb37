#include "python/bindings/module.hpp"

#include <pybind11/pybind11.h>

PYBIND11_MODULE(_core, m) {
  m.doc() = "RunFlat's C++ core; `runflat` is the public package.";
  m.attr("__version__") = RUNFLAT_VERSION;
  runflat::python::bind_core(m);
}

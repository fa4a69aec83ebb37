#include "python/bindings/module.hpp"

#include <pybind11/pybind11.h>

PYBIND11_MODULE(_core, m) {
  m.doc() = "RunFlat's C++ core; `runflat` is the public package.";
  m.attr("__version__") = RUNFLAT_VERSION;
  runflat::python::bind_core(m);
  runflat::python::bind_scenario(m);
  runflat::python::bind_plan(m);
  runflat::python::bind_step(m);
  runflat::python::bind_recovery(m);
  runflat::python::bind_what_if(m);
  runflat::python::bind_sim(m);
  runflat::python::bind_faults(m);
  runflat::python::bind_data(m);
  runflat::python::bind_train(m);
  runflat::python::bind_checkpoint(m);
}

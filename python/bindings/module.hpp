#pragma once

#include <pybind11/pybind11.h>

namespace runflat::python {

/// Each function adds the types and functions of its file to the module `_core`.
void bind_core(pybind11::module_& m);
void bind_scenario(pybind11::module_& m);
void bind_plan(pybind11::module_& m);
void bind_step(pybind11::module_& m);
void bind_recovery(pybind11::module_& m);
void bind_what_if(pybind11::module_& m);
void bind_sim(pybind11::module_& m);
void bind_faults(pybind11::module_& m);
void bind_data(pybind11::module_& m);
void bind_train(pybind11::module_& m);
void bind_checkpoint(pybind11::module_& m);

}  // namespace runflat::python

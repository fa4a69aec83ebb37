#pragma once

#include <pybind11/pybind11.h>

namespace runflat::python {

/// One function per folder adds that folder's types and functions to the module `_core`.
void bind_core(pybind11::module_& m);

}  // namespace runflat::python

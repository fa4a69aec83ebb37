#include "core/error.hpp"
#include "python/bindings/module.hpp"

#include <pybind11/pybind11.h>

namespace runflat::python {

void bind_core(pybind11::module_& m) {
  // InvalidArgument needs no line here: it is a std::invalid_argument, which becomes ValueError.
  pybind11::register_exception<ParseError>(m, "ParseError", PyExc_ValueError);
  pybind11::register_exception<InfeasibleError>(m, "InfeasibleError", PyExc_RuntimeError);
}

}  // namespace runflat::python

#include "core/cluster.hpp"
#include "core/error.hpp"
#include "core/layout.hpp"
#include "core/model.hpp"
#include "python/bindings/aggregate.hpp"
#include "python/bindings/module.hpp"

#include <pybind11/pybind11.h>

namespace py = pybind11;

namespace runflat::python {
namespace {

void bind_errors(py::module_& m) {
  // InvalidArgument needs no line here: it is a std::invalid_argument, which becomes ValueError.
  py::register_exception<ParseError>(m, "ParseError", PyExc_ValueError);
  py::register_exception<InfeasibleError>(m, "InfeasibleError", PyExc_RuntimeError);
}

void bind_cluster(py::module_& m) {
  bind_aggregate<ClusterSpec>(m, "ClusterSpec", &read_cluster, &runflat::to_value)
      .def_readonly("gpu", &ClusterSpec::gpu)
      .def_readonly("num_nodes", &ClusterSpec::num_nodes)
      .def_readonly("gpus_per_node", &ClusterSpec::gpus_per_node)
      .def_readonly("domain_size", &ClusterSpec::domain_size)
      .def_readonly("domains_per_rack", &ClusterSpec::domains_per_rack)
      .def_property_readonly("num_gpus", &ClusterSpec::num_gpus)
      .def_property_readonly("num_domains", &ClusterSpec::num_domains);
}

void bind_model(py::module_& m) {
  bind_aggregate<ModelSpec>(m, "ModelSpec", &read_model, &runflat::to_value)
      .def_readonly("name", &ModelSpec::name)
      .def_readonly("num_layers", &ModelSpec::num_layers)
      .def_readonly("hidden_size", &ModelSpec::hidden_size)
      .def_readonly("ffn_hidden_size", &ModelSpec::ffn_hidden_size)
      .def_readonly("num_attention_heads", &ModelSpec::num_attention_heads)
      .def_readonly("num_query_groups", &ModelSpec::num_query_groups)
      .def_readonly("seq_length", &ModelSpec::seq_length)
      .def_readonly("padded_vocab_size", &ModelSpec::padded_vocab_size)
      .def_readonly("num_experts", &ModelSpec::num_experts)
      .def_property_readonly("num_parameters", &ModelSpec::num_parameters)
      .def_property_readonly("flops_per_sequence", &ModelSpec::flops_per_sequence);
}

void bind_sizes(py::module_& m) {
  bind_aggregate<ParallelSizes>(m, "ParallelSizes", &read_sizes, &runflat::to_value)
      .def_readonly("tp", &ParallelSizes::tp)
      .def_readonly("cp", &ParallelSizes::cp)
      .def_readonly("ep", &ParallelSizes::ep)
      .def_readonly("dp", &ParallelSizes::dp)
      .def_readonly("pp", &ParallelSizes::pp)
      .def_property_readonly("num_ranks", &ParallelSizes::num_ranks);
}

}  // namespace

void bind_core(py::module_& m) {
  bind_errors(m);
  bind_cluster(m);
  bind_model(m);
  bind_sizes(m);
}

}  // namespace runflat::python

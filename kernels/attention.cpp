#include "kernels/attention.hpp"

#include "kernels/cuda_error.hpp"
#include "kernels/plain_attention.hpp"

#include <cuda_runtime.h>

#include <algorithm>
#include <cudnn_frontend.h>
#include <list>
#include <stdexcept>
#include <string>
#include <unordered_map>

namespace runflat::kernels {
namespace {

namespace fe = cudnn_frontend;

/// Names of a graph's tensors.
enum Uid : std::int64_t {
  uid_q = 1,
  uid_k,
  uid_v,
  uid_out,
  uid_lse,
  uid_dout,
  uid_dq,
  uid_dk,
  uid_dv
};
using Pointers = std::unordered_map<std::int64_t, void*>;

void check(cudnnStatus_t status, const char* call) {
  if (status != CUDNN_STATUS_SUCCESS) {
    throw CudaError(std::string(call) + ": " + cudnnGetErrorString(status));
  }
}

std::string text_of(const AttentionShape& shape) {
  return std::to_string(shape.seq_length) + " positions, " + std::to_string(shape.batch_size) +
         " sequences, " + std::to_string(shape.heads) + " heads in " +
         std::to_string(shape.groups) + " groups of head size " + std::to_string(shape.head_size);
}

void check(fe::error_t error, const AttentionShape& shape) {
  if (error.is_bad()) {
    throw std::invalid_argument("attention: cuDNN does not take " + text_of(shape) + ": " +
                                error.get_message());
  }
}

/// A [s, b, heads, head_size] tensor as cuDNN's [b, heads, s, head_size].
fe::graph::Tensor_attributes head_tensor(const AttentionShape& shape,
                                         std::int64_t heads,
                                         const char* name,
                                         Uid uid) {
  const std::int64_t position = shape.batch_size * heads * shape.head_size;
  return fe::graph::Tensor_attributes()
      .set_name(name)
      .set_uid(uid)
      .set_dim({shape.batch_size, heads, shape.seq_length, shape.head_size})
      .set_stride({heads * shape.head_size, shape.head_size, position, 1});
}

fe::graph::Tensor_attributes lse_tensor(const AttentionShape& shape) {
  return fe::graph::Tensor_attributes()
      .set_name("lse")
      .set_uid(uid_lse)
      .set_dim({shape.batch_size, shape.heads, shape.seq_length, 1})
      .set_stride({shape.heads * shape.seq_length, shape.seq_length, 1, 1})
      .set_data_type(fe::DataType_t::FLOAT);
}

/// Makes `tensor` an output that is laid out like `like`.
void set_output(const std::shared_ptr<fe::graph::Tensor_attributes>& tensor,
                const fe::graph::Tensor_attributes& like) {
  tensor->set_output(true)
      .set_uid(like.get_uid())
      .set_dim(like.get_dim())
      .set_stride(like.get_stride())
      .set_data_type(like.get_data_type());
}

class Graph {
 public:
  Graph() {
    graph_.set_io_data_type(fe::DataType_t::BFLOAT16)
        .set_intermediate_data_type(fe::DataType_t::FLOAT)
        .set_compute_data_type(fe::DataType_t::FLOAT);
  }

  void add_forward(const AttentionShape& shape) {
    const auto q = graph_.tensor(head_tensor(shape, shape.heads, "q", uid_q));
    const auto k = graph_.tensor(head_tensor(shape, shape.groups, "k", uid_k));
    const auto v = graph_.tensor(head_tensor(shape, shape.groups, "v", uid_v));
    const auto [out, lse] = graph_.sdpa(q,
                                        k,
                                        v,
                                        fe::graph::SDPA_attributes()
                                            .set_name("attention")
                                            .set_generate_stats(true)
                                            .set_causal_mask(true)
                                            .set_attn_scale(static_cast<float>(shape.scale)));
    set_output(out, bf16(head_tensor(shape, shape.heads, "out", uid_out)));
    set_output(lse, lse_tensor(shape));
  }

  void add_backward(const AttentionShape& shape) {
    const auto q = graph_.tensor(head_tensor(shape, shape.heads, "q", uid_q));
    const auto k = graph_.tensor(head_tensor(shape, shape.groups, "k", uid_k));
    const auto v = graph_.tensor(head_tensor(shape, shape.groups, "v", uid_v));
    const auto out = graph_.tensor(head_tensor(shape, shape.heads, "out", uid_out));
    const auto dout = graph_.tensor(head_tensor(shape, shape.heads, "dout", uid_dout));
    const auto lse = graph_.tensor(lse_tensor(shape));
    const auto [dq, dk, dv] =
        graph_.sdpa_backward(q,
                             k,
                             v,
                             out,
                             dout,
                             lse,
                             fe::graph::SDPA_backward_attributes()
                                 .set_name("attention_backward")
                                 .set_causal_mask(true)
                                 .set_deterministic_algorithm(shape.deterministic)
                                 .set_attn_scale(static_cast<float>(shape.scale)));
    set_output(dq, bf16(head_tensor(shape, shape.heads, "dq", uid_dq)));
    set_output(dk, bf16(head_tensor(shape, shape.groups, "dk", uid_dk)));
    set_output(dv, bf16(head_tensor(shape, shape.groups, "dv", uid_dv)));
  }

  void build(const AttentionShape& shape, cudnnHandle_t handle) {
    check(graph_.validate(), shape);
    check(graph_.build_operation_graph(handle), shape);
    check(graph_.create_execution_plans({fe::HeurMode_t::A}), shape);
    check(graph_.check_support(), shape);
    check(graph_.build_plans(), shape);
    check(graph_.get_workspace_size(workspace_), shape);
  }

  [[nodiscard]] std::int64_t workspace() const { return workspace_; }

  void run(const AttentionShape& shape,
           cudnnHandle_t handle,
           Pointers pointers,
           void* workspace,
           Stream stream) const {
    check(cudnnSetStream(handle, stream), "cudnnSetStream");
    check(graph_.execute(handle, pointers, workspace), shape);
  }

 private:
  static fe::graph::Tensor_attributes bf16(fe::graph::Tensor_attributes tensor) {
    return tensor.set_data_type(fe::DataType_t::BFLOAT16);
  }

  fe::graph::Graph graph_;
  std::int64_t workspace_ = 0;
};

/// What is left to our own kernels: other types, and head sizes without a fast kernel of cuDNN.
bool cudnn_takes(const AttentionShape& shape) {
  return shape.type == DataType::bf16 && shape.head_size % 8 == 0 && shape.head_size <= 128;
}

void* mutable_pointer(const void* pointer) {
  return const_cast<void*>(pointer);
}

}  // namespace

struct Attention::State {
  struct Graphs {
    AttentionShape shape;
    Graph forward;
    Graph backward;
  };

  State() { check(cudnnCreate(&handle), "cudnnCreate"); }
  State(const State&) = delete;
  State& operator=(const State&) = delete;
  ~State() { cudnnDestroy(handle); }

  const Graphs& graphs_of(const AttentionShape& shape) {
    const auto known = std::find_if(
        graphs.begin(), graphs.end(), [&](const Graphs& made) { return made.shape == shape; });
    if (known != graphs.end()) {
      return *known;
    }
    Graphs made = {.shape = shape, .forward = {}, .backward = {}};
    made.forward.add_forward(shape);
    made.forward.build(shape, handle);
    made.backward.add_backward(shape);
    made.backward.build(shape, handle);
    graphs.push_back(std::move(made));
    return graphs.back();
  }

  cudnnHandle_t handle = nullptr;
  std::list<Graphs> graphs;
};

Attention::Attention() : state_(std::make_unique<State>()) {}
Attention::~Attention() = default;

std::int64_t Attention::workspace(const AttentionShape& shape) {
  if (!cudnn_takes(shape)) {
    return 0;
  }
  const State::Graphs& graphs = state_->graphs_of(shape);
  return std::max(graphs.forward.workspace(), graphs.backward.workspace());
}

void Attention::forward(const AttentionForwardArgs& args, void* workspace, Stream stream) {
  if (!cudnn_takes(args.shape)) {
    plain_attention_forward(args, stream);
    return;
  }
  const Pointers pointers = {{uid_q, mutable_pointer(args.q)},
                             {uid_k, mutable_pointer(args.k)},
                             {uid_v, mutable_pointer(args.v)},
                             {uid_out, args.out},
                             {uid_lse, args.lse}};
  state_->graphs_of(args.shape)
      .forward.run(args.shape, state_->handle, pointers, workspace, stream);
}

void Attention::backward(const AttentionBackwardArgs& args, void* workspace, Stream stream) {
  if (!cudnn_takes(args.shape)) {
    plain_attention_backward(args, stream);
    return;
  }
  const Pointers pointers = {{uid_q, mutable_pointer(args.q)},
                             {uid_k, mutable_pointer(args.k)},
                             {uid_v, mutable_pointer(args.v)},
                             {uid_out, mutable_pointer(args.out)},
                             {uid_lse, mutable_pointer(args.lse)},
                             {uid_dout, mutable_pointer(args.dout)},
                             {uid_dq, args.dq},
                             {uid_dk, args.dk},
                             {uid_dv, args.dv}};
  state_->graphs_of(args.shape)
      .backward.run(args.shape, state_->handle, pointers, workspace, stream);
}

}  // namespace runflat::kernels

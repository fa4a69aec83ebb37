// Without cuDNN all attention is by our own kernels.

#include "kernels/attention.hpp"
#include "kernels/plain_attention.hpp"

namespace runflat::kernels {

struct Attention::State {};

Attention::Attention() = default;
Attention::~Attention() = default;

std::int64_t Attention::workspace(const AttentionShape& /*shape*/) {
  return 0;
}

void Attention::forward(const AttentionForwardArgs& args, void* /*workspace*/, Stream stream) {
  plain_attention_forward(args, stream);
}

void Attention::backward(const AttentionBackwardArgs& args, void* /*workspace*/, Stream stream) {
  plain_attention_backward(args, stream);
}

}  // namespace runflat::kernels

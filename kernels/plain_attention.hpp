#pragma once

#include "kernels/attention.hpp"

namespace runflat::kernels {

/// Attention by our own kernels: any head size up to 256, fp32 or bf16, deterministic, no
/// workspace. Correct rather than fast, for what cuDNN does not take.
void plain_attention_forward(const AttentionForwardArgs& args, Stream stream);
void plain_attention_backward(const AttentionBackwardArgs& args, Stream stream);

}  // namespace runflat::kernels

#include "core/error.hpp"
#include "exec/training/trainer.hpp"

#include <fmt/format.h>
#include <numeric>
#include <vector>

namespace runflat::exec {

void Trainer::load_microbatch(const SampleSource& data,
                              std::int64_t first_sample,
                              std::int64_t index) {
  const SampleRange samples = sampler_.samples(first_sample, me_.dp, index);
  const std::int64_t seq = plan_.model.seq_length;
  const auto num = static_cast<std::size_t>(samples.num * seq);
  std::vector<std::int32_t> ids(num);
  std::vector<std::int32_t> targets(num);
  std::vector<float> mask(num);
  std::vector<std::int64_t> tokens(static_cast<std::size_t>(seq));
  std::vector<std::int64_t> labels(tokens.size());
  std::vector<float> weights(tokens.size());
  for (std::int64_t b = 0; b < samples.num; ++b) {
    const std::int64_t sample = samples.first + b;
    data.fill(sample, tokens, labels, weights);
    for (std::int64_t s = 0; s < seq; ++s) {
      const auto from = static_cast<std::size_t>(s);
      const auto to = static_cast<std::size_t>(s * samples.num + b);
      for (const std::int64_t id : {tokens[from], labels[from]}) {
        if (id < 0 || id >= plan_.model.padded_vocab_size) {
          throw ParseError("data",
                           fmt::format("sample {}, position {}", sample, s),
                           fmt::format("token {} is outside the model's vocabulary of {}",
                                       id,
                                       plan_.model.padded_vocab_size));
        }
      }
      ids[to] = static_cast<std::int32_t>(tokens[from]);
      targets[to] = static_cast<std::int32_t>(labels[from]);
      mask[to] = weights[from];
    }
  }
  const Microbatch& batch = microbatches_[static_cast<std::size_t>(index)];
  device_.copy_in(batch.ids.data(), ids.data(), batch.ids.bytes());
  device_.copy_in(batch.targets.data(), targets.data(), batch.targets.bytes());
  device_.copy_in(batch.loss_mask.data(), mask.data(), batch.loss_mask.bytes());
  tokens_ += std::accumulate(mask.begin(), mask.end(), 0.0);
}

void Trainer::load(const SampleSource& data, std::int64_t first_sample) {
  tokens_ = 0.0;
  const bool needs_data = me_.pp.value() == 0 || me_.pp.value() == plan_.layout.sizes().pp - 1;
  for (std::size_t i = 0; needs_data && i < microbatches_.size(); ++i) {
    load_microbatch(data, first_sample, static_cast<std::int64_t>(i));
  }
}

}  // namespace runflat::exec

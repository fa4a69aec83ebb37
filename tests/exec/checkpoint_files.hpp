#pragma once

#include "exec/checkpoint/checkpoint_reader.hpp"
#include "exec/checkpoint/checkpointer.hpp"
#include "tests/exec/training_run.hpp"

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

namespace runflat::tests {

/// A model so small that saving it costs next to nothing: one layer, hidden size 4.
[[nodiscard]] inline exec::CheckpointHeader tiny_header(std::int64_t step) {
  exec::CheckpointHeader header;
  header.progress = {.steps = step, .consumed_samples = 10 * step};
  header.model = tiny_gpt();
  header.model.num_layers = 1;
  header.model.hidden_size = 4;
  header.model.ffn_hidden_size = 4;
  header.model.num_attention_heads = header.model.num_query_groups = 2;
  header.model.kv_channels = 2;
  header.model.seq_length = 4;
  header.model.padded_vocab_size = 8;
  return header;
}

/// What rank `rank` of `size` brings to a checkpoint in which every element is `step`, and its
/// moments step + 1 and step + 2.
[[nodiscard]] inline exec::StateCopy tiny_state(std::int64_t step,
                                                std::int64_t rank = 0,
                                                std::int64_t size = 1) {
  exec::StateCopy copy;
  for (const exec::CheckpointParam& param : exec::checkpoint_params(tiny_header(step).model)) {
    const std::int64_t num = param.num_elements();
    const exec::ElementRange range{num * rank / size, num * (rank + 1) / size - num * rank / size};
    copy.ranges.push_back({param.name, range});
    for (std::int64_t kind = 0; kind < 3; ++kind) {
      const std::vector<float> values(static_cast<std::size_t>(range.num),
                                      static_cast<float>(step + kind));
      const auto bytes = std::as_bytes(std::span(values));
      copy.bytes.insert(copy.bytes.end(), bytes.begin(), bytes.end());
    }
  }
  return copy;
}

/// Every element of every kind, in the order of parameters.
[[nodiscard]] inline std::vector<double> contents(const std::filesystem::path& path) {
  exec::CheckpointReader reader(path);
  std::vector<double> all;
  for (const exec::CheckpointParam& param : reader.index().params) {
    for (std::size_t kind = 0; kind < exec::kNumStateKinds; ++kind) {
      std::vector<double> values(static_cast<std::size_t>(param.num_elements()));
      reader.read(param.name, static_cast<exec::StateKind>(kind), 0, std::span<double>(values));
      all.insert(all.end(), values.begin(), values.end());
    }
  }
  return all;
}

/// What contents() gives for a checkpoint of tiny_state(step).
[[nodiscard]] inline std::vector<double> tiny_contents(std::int64_t step) {
  std::vector<double> all;
  for (const exec::CheckpointParam& param : exec::checkpoint_params(tiny_header(step).model)) {
    for (std::int64_t kind = 0; kind < 3; ++kind) {
      all.insert(all.end(),
                 static_cast<std::size_t>(param.num_elements()),
                 static_cast<double>(step + kind));
    }
  }
  return all;
}

/// Saves in a job of one rank.
inline void save_tiny(const std::filesystem::path& folder, std::int64_t step) {
  run_on_host(1, [&](exec::Device&, exec::Transport& transport) {
    exec::Checkpointer checkpointer(
        transport, ParallelLayout::uniform({}), {.folder = folder, .keep_last = 2});
    checkpointer.save(tiny_header(step), tiny_state(step));
    checkpointer.wait();
  });
}

[[nodiscard]] inline std::vector<std::string> names_in(const std::filesystem::path& folder) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    names.push_back(entry.path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace runflat::tests

#pragma once

#include "exec/job/job_worker.hpp"

#include <filesystem>
#include <span>
#include <string>
#include <vector>

namespace runflat::exec {

/// The command line of `runflat train`, which its workers get unchanged.
struct TrainArguments {
  std::filesystem::path config;
  std::vector<std::string> overrides;
  TrainOptions options;
};

/// CONFIG and --backend, --transport, --log, --timeline, --inject, --ranks-per-gpu, --set. Without
/// a transport: that of the backend, nccl or gloo. ParseError for what does not fit together.
[[nodiscard]] TrainArguments parse_train_arguments(std::span<char*> words);

/// `text` is a file of faults, TOML or JSON, or one fault.
void add_faults(const std::string& text, std::vector<InjectedFault>& faults);

}  // namespace runflat::exec

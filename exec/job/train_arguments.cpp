#include "exec/job/train_arguments.hpp"

#include "core/document.hpp"
#include "core/error.hpp"
#include "exec/job/command_line.hpp"
#include "exec/job/launch_environment.hpp"

namespace runflat::exec {
namespace {

void check_transport(TrainOptions& options) {
  const bool is_cuda = options.backend == "cuda";
  if (options.transport.empty()) {
    options.transport = is_cuda ? "nccl" : "gloo";
  }
  if (options.transport != "loopback" && options.transport != "gloo" &&
      options.transport != "nccl") {
    throw ParseError(
        "--transport", "", "expected loopback, gloo or nccl, found " + options.transport);
  }
  if (!is_cuda && options.ranks_per_gpu > 1) {
    throw ParseError("--ranks-per-gpu", "", "ranks share GPUs with --backend cuda");
  }
  if (is_cuda != (options.transport == "nccl")) {
    throw ParseError("--transport", "", "nccl goes with --backend cuda, and the others with cpu");
  }
}

std::int64_t read_ranks_per_gpu(const std::string& text) {
  const auto number = environment_number([&](const char* /*name*/) { return std::optional(text); },
                                         "--ranks-per-gpu");
  if (*number < 1) {
    throw ParseError("--ranks-per-gpu", "", "expected at least 1");
  }
  return *number;
}

}  // namespace

void add_faults(const std::string& text, std::vector<InjectedFault>& faults) {
  if (!text.ends_with(".toml") && !text.ends_with(".json")) {
    faults.push_back(parse_fault(text));
    return;
  }
  const Value document = read_document(text);
  const std::vector<InjectedFault> more = read_faults(Reader(document, text));
  faults.insert(faults.end(), more.begin(), more.end());
}

TrainArguments parse_train_arguments(std::span<char*> words) {
  TrainArguments arguments;
  read_command_line(
      words,
      [&](const std::string& word) { arguments.config = word; },
      [&](const std::string& option, const std::string& value) {
        if (option == "--backend") {
          arguments.options.backend = value;
        } else if (option == "--transport") {
          arguments.options.transport = value;
        } else if (option == "--log") {
          arguments.options.log = value;
        } else if (option == "--timeline") {
          arguments.options.timeline = value;
        } else if (option == "--inject") {
          add_faults(value, arguments.options.faults);
        } else if (option == "--ranks-per-gpu") {
          arguments.options.ranks_per_gpu = read_ranks_per_gpu(value);
        } else if (option == "--set") {
          arguments.overrides.push_back(value);
        } else {
          return false;
        }
        return true;
      });
  check_transport(arguments.options);
  return arguments;
}

}  // namespace runflat::exec

// Drills a training job on the host: its ranks are threads, faults strike them, and a table says
// what became of each. `runflat drill` starts it; exit status as there.

#include "core/error.hpp"
#include "exec/drill/drill.hpp"
#include "exec/drill/drill_table.hpp"
#include "exec/job/command_line.hpp"
#include "exec/job/exit_status.hpp"
#include "exec/job/train_arguments.hpp"
#include "exec/job/train_config.hpp"
#include "exec/recovery/agreement.hpp"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <iostream>
#include <span>
#include <string>
#include <vector>

namespace runflat::exec {
namespace {

// Threads of one host: a peer that is not dead answers within this.
constexpr std::chrono::milliseconds kTimeout{2000};
constexpr std::chrono::milliseconds kPatience{1000};
constexpr std::chrono::minutes kMostPerRun{10};
// Other layouts sum in another order: in 16 bits that is a rounding of the loss, 2^-8.
constexpr double kCalmTolerance16 = 1.0 / 256.0;

struct Arguments {
  std::filesystem::path config;
  std::vector<std::string> overrides;
  std::vector<InjectedFault> faults;  // on demand, instead of random ones
  DrillConfig drill;
};

std::int64_t count_of(const std::string& option, const std::string& text) {
  std::int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size() || number < 0) {
    throw ParseError(option, "", "expected a count, found " + text);
  }
  return number;
}

Arguments parse(std::span<char*> words) {
  Arguments arguments;
  read_command_line(
      words,
      [&](const std::string& word) { arguments.config = word; },
      [&](const std::string& option, const std::string& value) {
        if (option == "--faults") {
          arguments.drill.num_faults = count_of(option, value);
        } else if (option == "--seed") {
          arguments.drill.seed = static_cast<std::uint64_t>(count_of(option, value));
        } else if (option == "--inject") {
          add_faults(value, arguments.faults);
        } else if (option == "--set") {
          arguments.overrides.push_back(value);
        } else {
          return false;
        }
        return true;
      });
  return arguments;
}

/// Whether nothing happened that must not.
bool run(std::span<char*> words) {
  const Arguments arguments = parse(words);
  TrainConfig config = load_train_config(arguments.config, arguments.overrides);
  config.checkpoint = {};  // a drill starts at the beginning and leaves nothing behind
  const TrainInput input = make_train_input(config);
  LoopbackJob job{.worker = {.plan = config.plan,
                             .trainer = config.trainer,
                             .num_steps = config.train_iters,
                             .recovery = {.wait_for_spare = config.recovery.wait_for_spare},
                             .patience = kPatience},
                  .replan = [&config](const Plan& current, const Health& health) {
                    return replan_in_place(config.plan, current, health);
                  }};
  job.worker.trainer.timeout = kTimeout;
  job.deadline = kMostPerRun;
  DrillConfig drill = arguments.drill;
  drill.faults = arguments.faults;
  if (config.trainer.type != DataType::fp32) {
    drill.calm_tolerance = kCalmTolerance16;
  }
  const std::vector<std::int64_t> processes = processes_of(config.plan);
  for (const InjectedFault& fault : drill.faults) {
    if (std::find(processes.begin(), processes.end(), fault.rank) == processes.end()) {
      throw ParseError(to_text(fault), "rank", "no process of the plan");
    }
  }
  const DrillReport report = run_drill(job, drill, *input.train);
  std::cout << drill_table(report) << std::flush;
  return report.broken.empty();
}

}  // namespace
}  // namespace runflat::exec

int main(int argc, char** argv) {
  using namespace runflat;
  bool is_whole = false;
  const int status = exec::exit_status_of(
      [&] { is_whole = exec::run(std::span(argv, static_cast<std::size_t>(argc))); });
  return status == 0 && !is_whole ? 1 : status;
}

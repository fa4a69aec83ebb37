// Drills a training job on the host: its ranks are threads, faults strike them, and a table says
// what became of each. `runflat drill` starts it; exit status as there.

#include "core/document.hpp"
#include "core/error.hpp"
#include "exec/drill.hpp"
#include "exec/drill_table.hpp"
#include "exec/train_config.hpp"
#include "exec/train_job.hpp"

#include <charconv>
#include <exception>
#include <filesystem>
#include <fmt/format.h>
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
constexpr double kTolerance = 1e-5;
constexpr double kTolerance16 = 1.0 / 256.0;

struct Arguments {
  std::filesystem::path config;
  std::vector<std::string> overrides;
  std::vector<Fault> faults;  // on demand, instead of random ones
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

/// A file of faults, or one fault.
void add_faults(const std::string& text, std::vector<Fault>& faults) {
  if (!text.ends_with(".toml") && !text.ends_with(".json")) {
    faults.push_back(parse_fault(text));
    return;
  }
  const Value document = read_document(text);
  const std::vector<Fault> more = read_faults(Reader(document, text));
  faults.insert(faults.end(), more.begin(), more.end());
}

Arguments parse(std::span<char*> words) {
  Arguments arguments;
  for (std::size_t i = 1; i < words.size(); ++i) {
    const std::string word = words[i];
    if (!word.starts_with("--")) {
      arguments.config = word;
      continue;
    }
    if (++i == words.size()) {
      throw ParseError(word, "", "needs a value");
    }
    const std::string value = words[i];
    if (word == "--faults") {
      arguments.drill.num_faults = count_of(word, value);
    } else if (word == "--seed") {
      arguments.drill.seed = static_cast<std::uint64_t>(count_of(word, value));
    } else if (word == "--inject") {
      add_faults(value, arguments.faults);
    } else if (word == "--set") {
      arguments.overrides.push_back(value);
    } else {
      throw ParseError(word, "", "no such option");
    }
  }
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
                             .patience = kPatience},
                  .replan = [&config](const Plan&, const Health& health) {
                    return replan_in_place(config.plan, health);
                  }};
  job.worker.trainer.timeout = kTimeout;
  job.deadline = kMostPerRun;
  DrillConfig drill = arguments.drill;
  drill.faults = arguments.faults;
  drill.tolerance = config.trainer.type == DataType::fp32 ? kTolerance : kTolerance16;
  for (const Fault& fault : drill.faults) {
    if (!config.plan.layout.rank_of(GpuId(fault.rank))) {
      throw ParseError(to_text(fault), "rank", "no process of the plan");
    }
  }
  const DrillReport report = run_drill(job, drill, *input.train);
  std::cout << drill_table(report) << std::flush;
  return report.broken.empty();
}

int fail(int status, const char* reason) {
  std::cerr << fmt::format("runflat: {}\n", reason) << std::flush;
  return status;
}

}  // namespace
}  // namespace runflat::exec

int main(int argc, char** argv) {
  using namespace runflat;
  try {
    return exec::run(std::span(argv, static_cast<std::size_t>(argc))) ? 0 : 1;
  } catch (const ParseError& error) {
    return exec::fail(2, error.what());
  } catch (const InfeasibleError& error) {
    return exec::fail(3, error.what());
  } catch (const std::exception& error) {
    return exec::fail(1, error.what());
  }
}

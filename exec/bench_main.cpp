// Times the collectives of a group of ranks, or the reshard of a model's buckets: ranks are threads
// (loopback), or this is the one with a GPU that the environment says (nccl). `runflat bench comm`
// and `runflat bench reshard` start it. Writes a line of JSON for the run and one per measurement.

#include "core/document.hpp"
#include "core/error.hpp"
#include "exec/bench/collective_bench.hpp"
#include "exec/bench/reshard_bench.hpp"
#include "exec/communication/loopback_communicator.hpp"
#include "exec/communication/nccl_transport.hpp"
#include "exec/device/backend.hpp"
#include "exec/device/make_device.hpp"
#include "exec/files/new_file.hpp"
#include "exec/job/exit_status.hpp"
#include "exec/job/launch_environment.hpp"
#include "exec/job/train_config.hpp"
#include "exec/store/store.hpp"

#include <charconv>
#include <fmt/format.h>
#include <map>
#include <numeric>
#include <span>
#include <string>
#include <vector>

namespace runflat::exec {
namespace {

constexpr std::int64_t kSizeFactor = 4;
constexpr auto kTimeout = std::chrono::milliseconds(120'000);

struct Arguments {
  std::filesystem::path config;  ///< of the model whose buckets are resharded; empty: collectives
  std::string transport = "loopback";
  std::int64_t ranks = 0;  ///< threads; processes are as many as were started
  std::int64_t min_bytes = 1 << 10;
  std::int64_t max_bytes = 1 << 30;
  std::filesystem::path log;
};

std::int64_t number(const std::string& option, const std::string& text) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < 1) {
    throw ParseError(option, "", "expected a positive number, found " + text);
  }
  return value;
}

Arguments parse(std::span<char*> words) {
  Arguments arguments;
  if (words.size() % 2 == 0) {
    throw ParseError(words.back(), "", "needs a value");
  }
  for (std::size_t i = 1; i + 1 < words.size(); i += 2) {
    const std::string option = words[i];
    const std::string value = words[i + 1];
    if (option == "--reshard") {
      arguments.config = value;
    } else if (option == "--transport") {
      arguments.transport = value;
    } else if (option == "--ranks") {
      arguments.ranks = number(option, value);
    } else if (option == "--min-bytes") {
      arguments.min_bytes = number(option, value);
    } else if (option == "--max-bytes") {
      arguments.max_bytes = number(option, value);
    } else if (option == "--log") {
      arguments.log = value;
    } else {
      throw ParseError(option, "", "no such option");
    }
  }
  if (arguments.transport != "loopback" && arguments.transport != "nccl") {
    throw ParseError("--transport", "", "expected loopback or nccl, found " + arguments.transport);
  }
  return arguments;
}

Value header_of(const Arguments& arguments, std::int64_t num_ranks) {
  Value header = Value::Object{{"runflat", RUNFLAT_VERSION},
                               {"transport", arguments.transport},
                               {"ranks", num_ranks},
                               {"type", arguments.config.empty() ? "fp32" : "fp32, bf16 back"}};
  if (arguments.transport == "nccl") {
    header.set("gpu", gpu_name(0));
    header.set("gpu_versions", gpu_versions());
  }
  return header;
}

Value to_value(CollectiveKind kind, const CollectiveTime& time, std::int64_t num_ranks) {
  const bool reduces = kind == CollectiveKind::all_reduce || kind == CollectiveKind::reduce_scatter;
  return Value::Object{{"collective", std::string(to_string(kind))},
                       {"bytes", time.bytes},
                       {"count", time.count},
                       {"redop", reduces ? "sum" : "none"},
                       {"seconds", time.time.count()},
                       {"algbw_gb_per_s", time.algbw() * 1e-9},
                       {"busbw_gb_per_s", time.algbw() * bus_factor(kind, num_ranks) * 1e-9},
                       {"wrong", time.wrong}};
}

Value to_value(const ReshardTime& time) {
  return Value::Object{
      {"bucket", static_cast<std::int64_t>(time.bucket)},
      {"direction", time.is_to_sync ? "to_sync" : "to_compute"},
      {"count", time.num},
      {"link_bytes", time.bytes},
      {"seconds", time.time.count()},
      {"link_gb_per_s", static_cast<double>(time.bytes) / time.time.count() * 1e-9},
      {"wrong", time.wrong}};
}

std::vector<Value> measure_collectives(const Arguments& arguments,
                                       Device& device,
                                       Communicator& group) {
  std::vector<Value> lines;
  for (const CollectiveKind kind : {CollectiveKind::all_reduce,
                                    CollectiveKind::reduce_scatter,
                                    CollectiveKind::all_gather,
                                    CollectiveKind::exchange}) {
    for (std::int64_t bytes = arguments.min_bytes; bytes <= arguments.max_bytes;
         bytes *= kSizeFactor) {
      lines.push_back(to_value(kind, time_collective(device, group, kind, bytes), group.size()));
    }
  }
  return lines;
}

std::vector<Value> measure_reshard(const Arguments& arguments, Device& device, Communicator& tp) {
  const TrainConfig config = load_train_config(arguments.config, {});
  std::vector<Value> lines;
  for (const ReshardTime& time :
       time_reshard(device, tp, config.plan.model, config.trainer.num_buckets)) {
    lines.push_back(to_value(time));
  }
  return lines;
}

void run_rank(const Arguments& arguments, Device& device, Communicator& group) {
  const std::vector<Value> lines = arguments.config.empty()
                                       ? measure_collectives(arguments, device, group)
                                       : measure_reshard(arguments, device, group);
  if (group.rank() > 0) {
    return;
  }
  std::string text = to_json_text(header_of(arguments, group.size()), -1);
  for (const Value& line : lines) {
    text += to_json_text(line, -1);
  }
  write_new_file(arguments.log, text);
}

void run_threads(const Arguments& arguments) {
  spawn(arguments.ranks, [&](ThreadRank& thread) {
    const Backend backend = make_backend("cpu", 0, DataType::fp32);
    run_rank(arguments, *backend.device, thread.world);
  });
}

void run_process(const Arguments& arguments) {
  const std::optional<LaunchPlace> place = read_launch_place(&process_environment);
  if (!place) {
    throw ParseError("--transport", "", "nccl runs one rank of those a launcher starts");
  }
  const MeetingPlace meeting = meeting_place(*place, "", &process_environment);
  const Backend backend = make_backend("cuda", place->local_rank, DataType::bf16);
  const std::unique_ptr<Store> store = make_store(meeting.store_url, kTimeout);
  const std::unique_ptr<Transport> transport =
      make_nccl_transport(*backend.device, *store, place->rank);
  GroupSpec all{.name = "bench", .members = {}, .timeout = kTimeout};
  all.members.resize(static_cast<std::size_t>(place->world_size));
  std::iota(all.members.begin(), all.members.end(), 0);
  const std::unique_ptr<Communicator> group = transport->make_group(all, deadline_in(kTimeout));
  if (!group) {
    throw PeerLost("the ranks of the benchmark did not all come");
  }
  run_rank(arguments, *backend.device, *group);
}

void run(std::span<char*> words) {
  const Arguments arguments = parse(words);
  arguments.transport == "nccl" ? run_process(arguments) : run_threads(arguments);
}

}  // namespace
}  // namespace runflat::exec

int main(int argc, char** argv) {
  using namespace runflat;
  return exec::exit_status_of([&] { exec::run(std::span(argv, static_cast<std::size_t>(argc))); });
}

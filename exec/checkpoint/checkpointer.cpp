#include "exec/checkpoint/checkpointer.hpp"

#include "core/error.hpp"
#include "exec/checkpoint/checkpoint_state.hpp"

#include <algorithm>
#include <array>
#include <exception>
#include <fmt/format.h>
#include <optional>
#include <utility>

namespace runflat::exec {
namespace {

CheckpointHeader header_of(const Trainer& trainer) {
  return {.progress = trainer.progress(),
          .model = trainer.plan().model,
          .rotary_base = trainer.config().rotary_base,
          .norm_epsilon = trainer.config().norm_epsilon,
          .type = trainer.config().type,
          .has_moments = true};
}

std::unique_ptr<Communicator> make_group(Transport& transport,
                                         const ParallelLayout& layout,
                                         const CheckpointerConfig& config) {
  if (layout.num_ranks() == 1) {
    return nullptr;
  }
  GroupSpec spec{.name = fmt::format("g{}/checkpoint", config.generation),
                 .members = {},
                 .timeout = config.timeout};
  for (std::int64_t rank = 0; rank < layout.num_ranks(); ++rank) {
    spec.members.push_back(layout.gpu_of(Rank(rank)).value());
  }
  auto group = transport.make_group(spec, deadline_in(config.timeout));
  if (group == nullptr) {
    throw PeerLost("not all ranks came to save checkpoints together");
  }
  return group;
}

void write_part(const std::filesystem::path& folder,
                std::int64_t rank,
                const CheckpointHeader& header,
                const StateCopy& state) {
  CheckpointPart part(folder, rank, header, state.ranges);
  std::span<const std::byte> rest = state.bytes;
  for (const PartRange& range : state.ranges) {
    const auto bytes =
        static_cast<std::size_t>(range.elements.num * kernels::size_of(header.state_type()));
    for (std::size_t kind = 0; kind < header.num_kinds(); ++kind) {
      part.write(rest.first(bytes));
      rest = rest.subspan(bytes);
    }
  }
  part.publish();
}

}  // namespace

Checkpointer::Checkpointer(Transport& transport,
                           const ParallelLayout& layout,
                           CheckpointerConfig config)
    : folder_(config.folder),
      config_(std::move(config)),
      group_(make_group(transport, layout, config_)) {
  rank_ = group_ == nullptr ? 0 : group_->rank();
}

Checkpointer::~Checkpointer() {
  if (pending_.valid()) {
    pending_.wait();
  }
}

void Checkpointer::save(Device& device, Trainer& trainer) {
  wait();
  std::vector<StageState*> stages;
  for (const auto& stage : trainer.stages()) {
    stages.push_back(stage.get());
  }
  save(header_of(trainer), copy_state(device, stages));
}

void Checkpointer::save(const CheckpointHeader& header, StateCopy state) {
  wait();
  has_failed_ = false;
  pending_ = std::async(std::launch::async,
                        [this, header, copy = std::move(state)] { write(header, copy); });
}

void Checkpointer::wait() {
  if (pending_.valid()) {
    pending_.get();
  }
}

bool Checkpointer::is_over() const {
  return !pending_.valid() ||
         pending_.wait_for(std::chrono::seconds(0)) == std::future_status::ready;
}

void Checkpointer::abort() {
  if (group_ != nullptr) {
    group_->abort();
  }
}

template <typename Work>
void Checkpointer::together(std::int64_t step, Work work) {
  std::optional<std::string> error;
  try {
    work();
  } catch (const std::filesystem::filesystem_error& refused) {
    error = fmt::format("{}: {}", refused.path1().string(), refused.code().message());
  } catch (const std::exception& other) {
    error = other.what();
  }
  std::int64_t failed = error ? rank_ + 1 : 0;
  if (group_ != nullptr) {
    group_->join(group_->all_reduce(&failed, 1, DataType::int64, ReduceOp::max));
    if (group_->status() != SyncStatus::done) {
      throw PeerLost(fmt::format(
          "the checkpoint of step {} was given up: {}", step, error.value_or("a rank was lost")));
    }
  }
  if (failed > 0) {
    throw SaveFailed(fmt::format("the checkpoint of step {} was given up: rank {}: {}",
                                 step,
                                 failed - 1,
                                 reason_of(failed - 1, error.value_or("could not write"))));
  }
}

std::string Checkpointer::reason_of(std::int64_t failed_rank, std::string own_reason) {
  if (group_ == nullptr) {
    return own_reason;
  }
  std::array<char, 1024> text{};  // ends with a zero
  std::copy_n(own_reason.begin(), std::min(own_reason.size(), text.size() - 1), text.begin());
  group_->join(group_->broadcast(text.data(), std::ssize(text), failed_rank));
  return group_->status() == SyncStatus::done ? std::string(text.data()) : own_reason;
}

void Checkpointer::write(const CheckpointHeader& header, const StateCopy& state) {
  const std::int64_t step = header.progress.steps;
  try {
    together(step, [&] {
      if (rank_ == 0) {
        folder_.start(step, config_.generation);
      }
    });
    together(step, [&] {
      if (!state.ranges.empty()) {
        write_part(folder_.parts_folder(step, config_.generation), rank_, header, state);
      }
    });
    together(step, [&] {
      if (rank_ == 0) {
        folder_.commit(header, config_.generation, config_.keep_last);
      }
    });
  } catch (...) {
    has_failed_ = true;
    if (rank_ == 0) {
      folder_.give_up(step, config_.generation);
    }
    throw;
  }
}

void load_checkpoint(const std::filesystem::path& path, Device& device, Trainer& trainer) {
  CheckpointReader reader(path);
  check_same_model(
      reader, trainer.plan().model, trainer.config().rotary_base, trainer.config().norm_epsilon);
  for (const auto& stage : trainer.stages()) {
    load_state(device, reader, *stage);
  }
  trainer.set_progress(reader.index().header.progress);
}

}  // namespace runflat::exec

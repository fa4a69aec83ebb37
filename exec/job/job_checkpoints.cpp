#include "exec/job/job_checkpoints.hpp"

#include "exec/checkpoint/checkpoint_reader.hpp"

#include <cerrno>
#include <system_error>
#include <unistd.h>
#include <utility>

namespace runflat::exec {
namespace {

/// Found out before hours of training, not after.
std::filesystem::path writable_folder(const std::filesystem::path& folder) {
  std::filesystem::create_directories(folder);
  if (::access(folder.c_str(), W_OK) != 0) {
    throw std::filesystem::filesystem_error(
        "cannot write", folder, std::error_code(errno, std::generic_category()));
  }
  return folder;
}

}  // namespace

JobStart find_start(const CheckpointConfig& config) {
  if (!config.load) {
    return {};
  }
  const bool loads_own = config.save && std::filesystem::weakly_canonical(*config.save) ==
                                            std::filesystem::weakly_canonical(*config.load);
  if (loads_own && !has_checkpoint(*config.load)) {
    return {};
  }
  const CheckpointReader reader(*config.load);
  return {.checkpoint = reader.path(), .progress = reader.index().header.progress};
}

JobSaver::JobSaver(Transport& transport,
                   const CheckpointConfig& config,
                   const Trainer& trainer,
                   std::int64_t generation,
                   std::function<void(std::int64_t step)> on_saved)
    : interval_(config.save_interval),
      on_saved_(std::move(on_saved)),
      last_(trainer.progress().steps),
      checkpointer_(transport,
                    trainer.plan().layout,
                    {.folder = writable_folder(*config.save),
                     .keep_last = config.keep,
                     .generation = generation}) {}

void JobSaver::after_step(Device& device, Trainer& trainer) {
  if (checkpointer_.is_over() && !checkpointer_.has_failed()) {
    wait();
  }
  if (interval_ > 0 && trainer.progress().steps % interval_ == 0) {
    save(device, trainer);
  }
}

void JobSaver::finish(Device& device, Trainer& trainer) {
  if (last_ != trainer.progress().steps) {
    save(device, trainer);
  }
  wait();
}

void JobSaver::save(Device& device, Trainer& trainer) {
  wait();
  last_ = trainer.progress().steps;
  checkpointer_.save(device, trainer);
  in_flight_ = last_;
}

void JobSaver::wait() {
  checkpointer_.wait();
  if (const auto step = std::exchange(in_flight_, std::nullopt)) {
    on_saved_(*step);
  }
}

}  // namespace runflat::exec

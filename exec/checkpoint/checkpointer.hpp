#pragma once

#include "exec/checkpoint/checkpoint_folder.hpp"
#include "exec/checkpoint/checkpoint_state.hpp"
#include "exec/communication/communicator.hpp"
#include "exec/communication/transport.hpp"
#include "exec/training/trainer.hpp"

#include <atomic>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <future>
#include <memory>
#include <stdexcept>
#include <string>

namespace runflat::exec {

struct CheckpointerConfig {
  std::filesystem::path folder;  ///< of all checkpoints, the same for all ranks
  std::int64_t keep_last = 0;    ///< checkpoints; 0: all
  std::int64_t generation = 0;   ///< of the plan, as the trainer's
  /// How long ranks wait for the slowest to have written its part.
  std::chrono::milliseconds timeout{1'800'000};
};

/// Some rank could not save: the text names it and says why.
class SaveFailed : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// One rank's end of saving. A save copies the state to host memory and returns; a thread writes
/// it. The checkpoint becomes visible when the parts of all ranks are on the disk, or not at all.
class Checkpointer {
 public:
  /// All ranks of the plan make one, in the same order as other groups, and one in a generation.
  /// PeerLost where ranks do not come.
  Checkpointer(Transport& transport, const ParallelLayout& layout, CheckpointerConfig config);
  Checkpointer(const Checkpointer&) = delete;
  Checkpointer& operator=(const Checkpointer&) = delete;
  /// Waits for the save in flight, whatever comes of it; after abort(), not for other ranks.
  ~Checkpointer();

  /// Between two steps, on all ranks. First waits for the last save, as wait() does.
  void save(Device& device, Trainer& trainer);
  /// What has been copied, for those who have no trainer.
  void save(const CheckpointHeader& header, StateCopy state);

  /// Until no save is in flight. Throws what went wrong with it, once, on all ranks: SaveFailed,
  /// where a disk is full, say, or PeerLost. Earlier checkpoints are untouched then.
  void wait();
  /// Whether wait() would return or throw at once.
  [[nodiscard]] bool is_over() const;
  /// Whether the last save, if it is over, went wrong.
  [[nodiscard]] bool has_failed() const { return has_failed_; }

  /// Gives up the save in flight, here and on all ranks: wait() throws PeerLost.
  void abort();

 private:
  void write(const CheckpointHeader& header, const StateCopy& state);
  /// Runs the work, and throws on all ranks unless it went well on all.
  template <typename Work>
  void together(std::int64_t step, Work work);
  [[nodiscard]] std::string reason_of(std::int64_t failed_rank, std::string own_reason);

  CheckpointFolder folder_;
  CheckpointerConfig config_;
  std::int64_t rank_ = 0;
  std::unique_ptr<Communicator> group_;  // nullptr in a job of one rank
  std::future<void> pending_;
  std::atomic<bool> has_failed_ = false;
};

/// Continues where the checkpoint stands: fills the trainer's weights and optimizer state, and sets
/// its progress. ParseError where the checkpoint is damaged or of another model.
void load_checkpoint(const std::filesystem::path& path, Device& device, Trainer& trainer);

}  // namespace runflat::exec

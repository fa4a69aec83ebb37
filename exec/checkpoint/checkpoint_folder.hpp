#pragma once

#include "exec/checkpoint/checkpoint_index.hpp"

#include <cstdint>
#include <filesystem>
#include <utility>

namespace runflat::exec {

/// The folder of a job's checkpoints:
///
///     step_00000100/index.json, rank_00000.safetensors, ...   whole, always
///     latest                                                  the name of one of them
///     .step_00000200.<attempt>/                               being written
///
/// A checkpoint is written under the hidden name and renamed when all of it is on the disk, so that
/// whatever is interrupted, `latest` names a checkpoint that loads. One job at a time writes here.
/// What the system refuses is a std::filesystem::filesystem_error.
class CheckpointFolder {
 public:
  explicit CheckpointFolder(std::filesystem::path path) : path_(std::move(path)) {}

  [[nodiscard]] const std::filesystem::path& path() const { return path_; }

  /// Where the ranks write their parts. `attempt` is the same on all ranks and tells a job's
  /// generations apart.
  [[nodiscard]] std::filesystem::path parts_folder(std::int64_t step, std::int64_t attempt) const;

  /// By one rank, before any writes its part: deletes whatever is half written, and makes the
  /// folder of the parts.
  void start(std::int64_t step, std::int64_t attempt) const;
  /// By one rank, when all parts are on the disk: writes the index, makes the checkpoint visible
  /// and then the latest; of it and the older ones the last `keep_last` stay (0: all).
  void commit(const CheckpointHeader& header, std::int64_t attempt, std::int64_t keep_last) const;
  /// Instead: deletes what there is of it.
  void give_up(std::int64_t step, std::int64_t attempt) const noexcept;

 private:
  void clean() const;
  void delete_older(std::int64_t step, std::int64_t keep_last) const;

  std::filesystem::path path_;
};

/// Whether this is the folder of a checkpoint, or one with a latest one.
[[nodiscard]] bool has_checkpoint(const std::filesystem::path& path);

/// A checkpoint by its own folder, or the latest in a job's. ParseError where there is none.
[[nodiscard]] std::filesystem::path find_checkpoint(const std::filesystem::path& path);

}  // namespace runflat::exec

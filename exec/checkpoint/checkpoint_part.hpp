#pragma once

#include "exec/checkpoint/checkpoint_index.hpp"
#include "exec/checkpoint/safetensors.hpp"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace runflat::exec {

/// A range of a parameter that a part is to hold.
struct PartRange {
  std::string param;
  ElementRange elements;
};

/// Writes what one rank brings to a checkpoint: `rank_00003.safetensors`, and beside it
/// `rank_00003.json` that notes the pieces for the index. Both are on the disk when publish()
/// returns.
class CheckpointPart {
 public:
  CheckpointPart(const std::filesystem::path& folder,
                 std::int64_t rank,
                 const CheckpointHeader& header,
                 const std::vector<PartRange>& ranges);

  /// The next tensor whole, of the state's type: for each range param, exp_avg, exp_avg_sq.
  void write(std::span<const std::byte> tensor);
  void publish();

 private:
  std::filesystem::path notes_;
  std::size_t num_kinds_;
  std::vector<NotedPiece> pieces_;
  std::size_t next_ = 0;  // tensor
  SafetensorsWriter writer_;
};

/// The pieces of all parts in a folder; the notes are deleted.
[[nodiscard]] std::vector<NotedPiece> take_notes(const std::filesystem::path& folder);

/// The name of a type in safetensors files.
[[nodiscard]] const char* safetensors_type(DataType type);

}  // namespace runflat::exec

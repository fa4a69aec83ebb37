#pragma once

#include "exec/checkpoint/checkpoint_index.hpp"
#include "exec/checkpoint/safetensors.hpp"

#include <cstdint>
#include <filesystem>
#include <map>
#include <set>
#include <span>
#include <string>
#include <string_view>

namespace runflat::exec {

/// Reads any ranges of elements of a checkpoint, from as many files as hold them. A tensor's
/// checksum is verified when it is first read from. ParseError for whatever is missing, truncated
/// or changed.
class CheckpointReader {
 public:
  /// `path`: a checkpoint, or a job's folder of checkpoints, of which the latest is read.
  explicit CheckpointReader(const std::filesystem::path& path);

  [[nodiscard]] const CheckpointIndex& index() const { return index_; }
  [[nodiscard]] const std::filesystem::path& path() const { return path_; }
  [[nodiscard]] std::filesystem::path index_path() const;

  /// Elements of a parameter, converted to double or float where they are stored otherwise. Moments
  /// that the checkpoint does not have are zero.
  void read(std::string_view param, StateKind kind, std::int64_t first, std::span<float> out);
  void read(std::string_view param, StateKind kind, std::int64_t first, std::span<double> out);

  /// Verifies every byte of the state.
  void verify();

 private:
  template <typename T>
  void read_as(std::string_view param, StateKind kind, std::int64_t first, std::span<T> out);
  [[nodiscard]] const CheckpointParam& find(std::string_view param) const;
  [[nodiscard]] const SafetensorsFile& file(const std::string& name);
  /// The bytes of the piece's tensor, verified.
  [[nodiscard]] std::span<const std::byte> tensor(const CheckpointParam& param,
                                                  const CheckpointPiece& piece,
                                                  StateKind kind);

  std::filesystem::path path_;
  CheckpointIndex index_;
  std::map<std::string, const CheckpointParam*, std::less<>> params_;
  std::map<std::string, SafetensorsFile> files_;
  std::set<const std::byte*> verified_;  // tensors by their first byte
};

}  // namespace runflat::exec

#pragma once

#include "core/model.hpp"
#include "core/reader.hpp"
#include "core/value.hpp"
#include "exec/training/param_layout.hpp"
#include "exec/training/progress.hpp"
#include "kernels/data_type.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace runflat::exec {

using kernels::DataType;

/// What is kept of every element: its value in full precision (of which weights in bf16 are the
/// rounding) and Adam's moments.
enum class StateKind : std::uint8_t { param, exp_avg, exp_avg_sq };
inline constexpr std::size_t kNumStateKinds = 3;
[[nodiscard]] const char* to_string(StateKind kind);

/// XXH3 (64 bits).
[[nodiscard]] std::uint64_t checksum_of(std::span<const std::byte> bytes);

/// Elements of a parameter in unit-major order that one file holds, as one tensor for each kind.
struct CheckpointPiece {
  std::string file;
  ElementRange elements;
  std::array<std::uint64_t, kNumStateKinds> checksums{};  ///< of each tensor's bytes

  friend bool operator==(const CheckpointPiece&, const CheckpointPiece&) = default;
};
/// `decoder.final_layernorm.weight/exp_avg/128`: the piece that starts at element 128.
[[nodiscard]] std::string tensor_name(std::string_view param, StateKind kind, std::int64_t first);

struct CheckpointParam {
  std::string name;                 ///< Megatron's
  std::vector<std::int64_t> shape;  ///< Megatron's, of the whole tensor
  std::int64_t num_units =
      1;  ///< elements are stored unit after unit: exec/training/param_layout.hpp
  std::vector<CheckpointPiece> pieces;  ///< ascending; together every element once

  [[nodiscard]] std::int64_t num_elements() const;
  friend bool operator==(const CheckpointParam&, const CheckpointParam&) = default;
};

/// What a checkpoint says about itself, beside its parameters.
struct CheckpointHeader {
  Progress progress;
  ModelSpec model;
  double rotary_base = 10000.0;
  double norm_epsilon = 1e-5;
  DataType type = DataType::fp32;  ///< that the job trained in; the state is of its accumulate type
  bool has_moments = true;         ///< false where nothing has been trained here: imported weights

  [[nodiscard]] DataType state_type() const { return kernels::accumulate_type(type); }
  [[nodiscard]] std::size_t num_kinds() const { return has_moments ? kNumStateKinds : 1; }
  friend bool operator==(const CheckpointHeader&, const CheckpointHeader&) = default;
};

[[nodiscard]] Value to_value(const CheckpointHeader& header);
[[nodiscard]] CheckpointHeader read_header(const Reader& in);

struct CheckpointIndex {
  CheckpointHeader header;
  std::vector<CheckpointParam> params;

  friend bool operator==(const CheckpointIndex&, const CheckpointIndex&) = default;
};

/// The parameters of a model without any piece, in the order in which its forward pass uses them.
[[nodiscard]] std::vector<CheckpointParam> checkpoint_params(const ModelSpec& model);

/// Pieces as one rank notes them for the index.
struct NotedPiece {
  std::string param;
  CheckpointPiece piece;
};
[[nodiscard]] Value to_value(const std::vector<NotedPiece>& pieces);
[[nodiscard]] std::vector<NotedPiece> read_noted_pieces(const Reader& in);

/// Sorts pieces into their parameters. ParseError, with the name of `file`, where the pieces do not
/// hold every element of every parameter once.
[[nodiscard]] CheckpointIndex make_index(const CheckpointHeader& header,
                                         std::vector<NotedPiece> pieces,
                                         const std::filesystem::path& file);

/// JSON; the last key is a checksum of the text before it.
[[nodiscard]] std::string index_text(const CheckpointIndex& index);
/// ParseError for anything that is not the text of an index, one changed bit included.
[[nodiscard]] CheckpointIndex read_index(const std::filesystem::path& file);

}  // namespace runflat::exec

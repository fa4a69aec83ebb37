#pragma once

#include "core/error.hpp"
#include "core/model.hpp"
#include "sim/step_query.hpp"

#include <filesystem>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace runflat::sim {

/// A measured step and what ran it.
struct MeasuredStep {
  std::string id;
  std::string table;  ///< the file's name without its ending
  std::string model_name;
  std::string gpu;      ///< as in sim/hardware: `a100`
  std::string release;  ///< as in sim/hardware: `nemo-24.11`
  std::string framework;
  ModelSpec model;
  StepQuery query;
  double seconds = 0.0;
};

/// A row that cannot be priced, and the column that is to blame.
struct SkippedStep {
  std::string id;
  std::string reason;
};

/// Rows of a table of measured steps: a header that names the columns `id, model, hardware,
/// precision, gpus, heads, kv_heads, hidden, ffn_hidden, gated_mlp, layers, vocab, seq_len, tp, pp,
/// cp, ep, dp, vpp_chunks, mbs, gbs, seq_parallel, recompute, dist_opt, overlap, moe, step_time_s,
/// framework, source`, in any order; others are ignored. Every row becomes one or the other.
/// ParseError for a missing column, a row of the wrong length, or a field that is no number.
struct StepTable {
  std::vector<MeasuredStep> steps;
  std::vector<SkippedStep> skipped;
};

[[nodiscard]] StepTable read_step_table(std::string_view text, std::string_view file);
[[nodiscard]] StepTable read_step_table(const std::filesystem::path& path);

/// The rows of several files, one after the other.
[[nodiscard]] StepTable read_step_tables(const std::vector<std::filesystem::path>& paths);

}  // namespace runflat::sim

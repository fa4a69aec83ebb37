#pragma once

#include "core/error.hpp"
#include "core/id.hpp"
#include "core/reader.hpp"
#include "core/value.hpp"

#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace runflat {

/// Degrees of parallelism of a job, in Megatron's meaning: tp*cp*dp*pp GPUs; ep and etp (expert
/// tensor parallelism, default tp) divide each stage's tp*cp*dp ranks another way.
struct ParallelSizes {
  std::int64_t tp = 1;
  std::int64_t cp = 1;
  std::int64_t ep = 1;
  std::int64_t dp = 1;
  std::int64_t pp = 1;
  std::int64_t etp = 1;
  std::int64_t vpp = 1;                  ///< virtual stages (model chunks) of every pipeline rank
  std::string order = "tp-cp-ep-dp-pp";  ///< leftmost varies fastest

  [[nodiscard]] std::int64_t num_ranks() const { return tp * cp * dp * pp; }

  friend bool operator==(const ParallelSizes&, const ParallelSizes&) = default;
};

/// Infeasible with the product that fails: ep*etp must divide tp*cp*dp, `order` must name every
/// axis larger than 1 once, ...
[[nodiscard]] std::optional<Infeasible> check_sizes(const ParallelSizes& sizes);

/// `[layout]`: tensor_model_parallel_size, context_parallel_size, expert_model_parallel_size,
/// data_parallel_size, pipeline_model_parallel_size, expert_tensor_parallel_size,
/// virtual_pipeline_model_parallel_size, order. All default to 1.
[[nodiscard]] ParallelSizes read_sizes(const Reader& in);
/// The same of a table that holds more; whoever reads the rest calls finish().
[[nodiscard]] ParallelSizes read_sizes(ObjectReader& members);
[[nodiscard]] Value to_value(const ParallelSizes& sizes);

/// Which cell of the grid of TP groups.
struct CellId {
  DpRank dp;
  CpRank cp;
  PpRank pp;

  friend auto operator<=>(const CellId&, const CellId&) = default;
};

/// Where a rank stands. `tp` counts the cell's active ranks only.
struct Coordinate {
  TpRank tp;
  CpRank cp;
  DpRank dp;
  PpRank pp;

  [[nodiscard]] CellId cell() const { return {dp, cp, pp}; }
  friend auto operator<=>(const Coordinate&, const Coordinate&) = default;
};

/// One TP group: the GPUs of its `tp_base` slots, and the slots that do not run (failed, or idled).
/// tp ranks count the active slots in slot order.
struct Cell {
  std::vector<GpuId> slots;
  std::vector<std::int64_t> inactive;  ///< ascending slot numbers

  [[nodiscard]] std::int64_t tp_size() const {
    return static_cast<std::int64_t>(slots.size() - inactive.size());
  }
  /// Active GPUs by tp rank.
  [[nodiscard]] std::vector<GpuId> active() const;

  friend bool operator==(const Cell&, const Cell&) = default;
};

/// The slots of one cell that do not run.
struct InactiveSlots {
  CellId cell;
  std::vector<std::int64_t> slots;

  friend bool operator==(const InactiveSlots&, const InactiveSlots&) = default;
};

/// Which GPU plays which rank. Every cell (dp, cp, pp) has its own tp_size of 1 to sizes().tp;
/// ranks are dense over the active slots, in the order of sizes().order over the nominal grid.
class ParallelLayout {
 public:
  /// Megatron's rectangular layout: rank r on GPU r.
  [[nodiscard]] static ParallelLayout uniform(const ParallelSizes& sizes);
  /// The same grid with slots taken out, anywhere and different for every cell.
  /// InvalidArgument for a cell or slot outside the grid, named twice, or a cell left empty.
  [[nodiscard]] static ParallelLayout nonuniform(const ParallelSizes& sizes,
                                                 const std::vector<InactiveSlots>& inactive);
  /// Any placement: one cell per (dp, cp, pp), dp fastest, then cp, then pp: see cell_index().
  [[nodiscard]] static ParallelLayout from_cells(const ParallelSizes& sizes,
                                                 std::vector<Cell> cells);

  [[nodiscard]] const ParallelSizes& sizes() const { return sizes_; }
  [[nodiscard]] std::int64_t num_ranks() const {
    return static_cast<std::int64_t>(coordinates_.size());
  }
  [[nodiscard]] bool is_uniform() const { return num_ranks() == sizes_.num_ranks(); }
  [[nodiscard]] std::size_t cell_index(CellId id) const;
  [[nodiscard]] CellId cell_id(std::size_t index) const;
  [[nodiscard]] const std::vector<Cell>& cells() const { return cells_; }
  [[nodiscard]] const Cell& cell(CellId id) const { return cells_[cell_index(id)]; }
  [[nodiscard]] std::int64_t tp_size(CellId id) const { return cell(id).tp_size(); }
  /// The smallest tp_size of any cell of this stage: the degree that its gradients are synchronised
  /// at. CP slices count like replicas, since weights are reduced over dp and cp.
  [[nodiscard]] std::int64_t sync_degree(PpRank pp) const;

  [[nodiscard]] const Coordinate& coordinate_of(Rank rank) const;
  [[nodiscard]] GpuId gpu_of(Rank rank) const;
  /// Nothing when the cell has no such tp rank.
  [[nodiscard]] std::optional<Rank> rank_of(const Coordinate& coordinate) const;
  [[nodiscard]] std::optional<Rank> rank_of(GpuId gpu) const;

  friend bool operator==(const ParallelLayout& a, const ParallelLayout& b) {
    return a.sizes_ == b.sizes_ && a.cells_ == b.cells_;
  }

 private:
  ParallelLayout(const ParallelSizes& sizes, std::vector<Cell> cells);

  ParallelSizes sizes_;
  std::vector<Cell> cells_;
  std::vector<Coordinate> coordinates_;              // by rank
  std::vector<GpuId> gpus_;                          // by rank
  std::vector<std::vector<Rank>> ranks_of_cell_;     // by cell, tp rank
  std::vector<std::pair<GpuId, Rank>> rank_of_gpu_;  // sorted by GPU
};

}  // namespace runflat

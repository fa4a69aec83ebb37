#pragma once

#include "sim/fault_timeline.hpp"
#include "sim/sim_time.hpp"

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace runflat::sim {

/// Dated faults and repairs of a real cluster. Instant zero is the start of the observation.
struct FaultTrace {
  std::vector<Fault> faults;             ///< sorted as in a FaultTimeline
  std::vector<std::string> class_names;  ///< by class_index, in the order of the file
  std::vector<Slowdown> slowdowns{};     ///< sorted likewise

  friend bool operator==(const FaultTrace&, const FaultTrace&) = default;
};

/// Reads a trace of a cluster of this shape from comma-separated values. The first row names the
/// columns, which may stand in any order:
///   start_day, end_day  days since the start of the observation; an empty end_day: never repaired
///   node                the node that is down, or instead of it:
///   blast_radius        gpu | node | domain | job, together with
///   component           the number of that GPU, node or domain (0 for a job)
///   class               optional, what failed
///   level               optional, what kind of thing failed; a class is then called `level/class`
///   detection           optional, crash (where empty) | hang | planned | timeout
///   silent_seconds      optional, for how long before start_day the state was corrupt, in whole
///                       seconds (empty: 0)
///   speed               optional, of a component that is slow and not down, between 0 and 1
///   (empty:
///                       it is down), with
///   resource            compute (where empty) | network | nvlink
/// Other columns are ignored. The columns of the InfiniteHBD trace (start_day, end_day, node,
/// level, class, desc) are a case of this.
///
/// Rows may come in any order. Faults of one component may overlap, as in every real log: it is
/// down during the union of their spans.
///
/// ParseError names the row (the header is row 1) for a missing or doubled column, another number
/// of fields than the header has, a time that is not a finite number from 0 to 1e6 days, an end
/// before its start, a component that the cluster does not have, and a word that is not known.
[[nodiscard]] FaultTrace parse_fault_trace(std::string_view text,
                                           std::string_view file,
                                           const ClusterShape& shape);

/// As parse_fault_trace; ParseError where the file cannot be read.
[[nodiscard]] FaultTrace read_fault_trace(const std::filesystem::path& path,
                                          const ClusterShape& shape);

/// The trace as text that parse_fault_trace reads back equal, given that every class occurs and
/// first does so in the order of `class_names`. Times must not be negative.
[[nodiscard]] std::string fault_trace_csv(const FaultTrace& trace);

/// The faults of a job that runs on the traced cluster from the instant `start` for `duration`:
/// times count from `start`; what was repaired by then, or fails only after the job, is left out.
[[nodiscard]] FaultTimeline replay(const FaultTrace& trace,
                                   const ClusterShape& shape,
                                   SimTime duration,
                                   SimTime start = SimTime::zero());

}  // namespace runflat::sim

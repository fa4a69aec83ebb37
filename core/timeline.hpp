#pragma once

#include "core/id.hpp"
#include "core/units.hpp"

#include <cstdint>
#include <iosfwd>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

namespace runflat {

/// What executes a span: the compute stream of a GPU, the communication of one axis, copies to and
/// from the host or storage, or the process itself (restart, rendezvous, data).
enum class Stream : std::uint8_t { compute, tp, cp, ep, pp, dp, copy, host };

[[nodiscard]] std::string_view name_of(Stream stream);

/// Something that a rank did, or is predicted to do, from `begin` to `end`. Times count from the
/// start of the timeline. Spans of one rank and stream do not overlap.
struct Span {
  Rank rank{};
  Stream stream = Stream::compute;
  std::string name;  ///< of a scheduled op: name_of(OpKind)
  Seconds begin{};
  Seconds end{};
  std::int32_t microbatch = -1;  ///< -1: does not apply; so for the next two
  std::int32_t vp_stage = -1;
  std::int32_t bucket = -1;
  Bytes bytes{};  ///< sent, moved or reduced by this rank; 0: does not apply

  friend bool operator==(const Span&, const Span&) = default;
};

/// The spans of a step or of a job, predicted by the simulator or measured by the executor.
class Timeline {
 public:
  /// InvalidArgument unless the times are finite and begin <= end.
  void add(Span span);

  [[nodiscard]] const std::vector<Span>& spans() const { return spans_; }
  /// End of the last span; 0 when empty.
  [[nodiscard]] Seconds end() const { return end_; }
  /// Total length of the spans of a rank and stream.
  [[nodiscard]] Seconds busy_time(Rank rank, Stream stream) const;

  friend bool operator==(const Timeline&, const Timeline&) = default;

 private:
  std::vector<Span> spans_;
  Seconds end_{};
};

/// Writes spans one by one as a Chrome trace (JSON), which ui.perfetto.dev and chrome://tracing
/// open: a process per rank, a thread per stream, times rounded to nanoseconds. Holds no spans, so
/// that a trace may be larger than memory. The same spans give the same bytes. Stream errors are
/// the caller's to check.
class ChromeTraceWriter {
 public:
  explicit ChromeTraceWriter(std::ostream& out);

  void write(const Span& span);
  /// Ends the JSON document; call once, last.
  void finish();

 private:
  void write_event(std::string_view event);
  void name_track(const Span& span);
  const std::string& quoted(const std::string& text);

  std::ostream& out_;
  bool is_first_ = true;
  std::unordered_set<Rank> named_ranks_;
  std::unordered_set<std::int64_t> named_tracks_;
  std::unordered_map<std::string, std::string> quoted_;
};

void write_chrome_trace(const Timeline& timeline, std::ostream& out);
[[nodiscard]] std::string to_chrome_trace(const Timeline& timeline);

}  // namespace runflat

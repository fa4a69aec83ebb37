#include "core/timeline.hpp"

#include "core/document.hpp"
#include "core/error.hpp"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <sstream>

namespace runflat {
namespace {

void require_valid(const Span& span) {
  require(std::isfinite(span.begin.count()) && std::isfinite(span.end.count()) &&
              std::isfinite(span.bytes.value) && span.begin <= span.end,
          "a span needs finite times and must not end before it begins");
}

std::int64_t nanoseconds(Seconds time) {
  return std::llround(time.count() * 1e9);
}

/// A number of nanoseconds as microseconds, the unit of the format, without losing a digit.
std::string microseconds(std::int64_t nanoseconds) {
  const std::int64_t size = std::abs(nanoseconds);
  return fmt::format("{}{}.{:03}", nanoseconds < 0 ? "-" : "", size / 1000, size % 1000);
}

std::string arguments(const Span& span) {
  std::string text;
  const auto add = [&text](std::string_view key, const auto& value) {
    text += fmt::format("{}\"{}\":{}", text.empty() ? "" : ",", key, value);
  };
  if (span.microbatch >= 0) {
    add("microbatch", span.microbatch);
  }
  if (span.vp_stage >= 0) {
    add("vp_stage", span.vp_stage);
  }
  if (span.bucket >= 0) {
    add("bucket", span.bucket);
  }
  if (span.bytes.value > 0.0) {
    add("bytes", span.bytes.value);
  }
  return text;
}

}  // namespace

std::string_view name_of(Stream stream) {
  switch (stream) {
    case Stream::compute:
      return "compute";
    case Stream::tp:
      return "tp";
    case Stream::cp:
      return "cp";
    case Stream::ep:
      return "ep";
    case Stream::pp:
      return "pp";
    case Stream::dp:
      return "dp";
    case Stream::copy:
      return "copy";
    case Stream::host:
      return "host";
  }
  return "";
}

void Timeline::add(Span span) {
  require_valid(span);
  end_ = std::max(end_, span.end);
  spans_.push_back(std::move(span));
}

Seconds Timeline::busy_time(Rank rank, Stream stream) const {
  Seconds total{};
  for (const Span& span : spans_) {
    if (span.rank == rank && span.stream == stream) {
      total += span.end - span.begin;
    }
  }
  return total;
}

ChromeTraceWriter::ChromeTraceWriter(std::ostream& out) : out_(out) {
  out_ << "{\"displayTimeUnit\":\"ms\",\"traceEvents\":[";
}

void ChromeTraceWriter::write(const Span& span) {
  require_valid(span);
  name_track(span);
  const std::int64_t begin = nanoseconds(span.begin);
  write_event(fmt::format(
      R"({{"ph":"X","name":{},"cat":"{}","pid":{},"tid":{},"ts":{},"dur":{},"args":{{{}}}}})",
      quoted(span.name),
      name_of(span.stream),
      span.rank.value(),
      static_cast<int>(span.stream),
      microseconds(begin),
      microseconds(nanoseconds(span.end) - begin),
      arguments(span)));
}

void ChromeTraceWriter::finish() {
  out_ << "\n]}\n";
}

void ChromeTraceWriter::write_event(std::string_view event) {
  out_ << (is_first_ ? "\n" : ",\n") << event;
  is_first_ = false;
}

void ChromeTraceWriter::name_track(const Span& span) {
  constexpr std::int64_t kMaxStreams = 256;
  const auto stream = static_cast<std::int64_t>(span.stream);
  const std::int64_t rank = span.rank.value();
  const auto write_name = [&](std::string_view event, std::string_view name) {
    write_event(fmt::format(R"({{"ph":"M","name":"{}","pid":{},"tid":{},"args":{{"name":"{}"}}}})",
                            event,
                            rank,
                            stream,
                            name));
  };
  if (named_ranks_.insert(span.rank).second) {
    write_name("process_name", fmt::format("rank {}", rank));
  }
  if (named_tracks_.insert(rank * kMaxStreams + stream).second) {
    write_name("thread_name", name_of(span.stream));
  }
}

const std::string& ChromeTraceWriter::quoted(const std::string& text) {
  const auto [entry, is_new] = quoted_.try_emplace(text);
  if (is_new) {
    entry->second = to_json_text(text, -1);
    entry->second.pop_back();  // the newline
  }
  return entry->second;
}

void write_chrome_trace(const Timeline& timeline, std::ostream& out) {
  ChromeTraceWriter writer(out);
  for (const Span& span : timeline.spans()) {
    writer.write(span);
  }
  writer.finish();
}

std::string to_chrome_trace(const Timeline& timeline) {
  std::ostringstream out;
  write_chrome_trace(timeline, out);
  return out.str();
}

}  // namespace runflat

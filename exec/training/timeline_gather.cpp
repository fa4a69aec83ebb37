#include "exec/training/timeline_gather.hpp"

#include <cstdint>
#include <cstring>
#include <numeric>
#include <string>
#include <string_view>
#include <vector>

namespace runflat::exec {
namespace {

template <typename T>
void put(std::string& out, const T& value) {
  const auto* bytes = reinterpret_cast<const char*>(&value);
  out.append(bytes, sizeof value);
}

template <typename T>
T take(std::string_view& in) {
  T value;
  std::memcpy(&value, in.data(), sizeof value);
  in.remove_prefix(sizeof value);
  return value;
}

/// Whole words: communicators move numbers.
std::string encode(const Timeline& timeline) {
  std::string out;
  for (const Span& span : timeline.spans()) {
    put(out, span.rank.value());
    put(out, span.stream);
    put(out, span.begin.count());
    put(out, span.end.count());
    put(out, span.microbatch);
    put(out, span.vp_stage);
    put(out, span.bucket);
    put(out, span.bytes.value);
    put(out, static_cast<std::uint32_t>(span.name.size()));
    out += span.name;
  }
  std::string message;
  put(message, static_cast<std::uint64_t>(out.size()));
  message += out;
  message.resize((message.size() + 3) / 4 * 4);
  return message;
}

void decode(std::string_view in, Timeline& timeline) {
  const auto num_bytes = take<std::uint64_t>(in);
  in = in.substr(0, num_bytes);
  while (!in.empty()) {
    Span span;
    span.rank = Rank(take<std::int64_t>(in));
    span.stream = take<Stream>(in);
    span.begin = Seconds(take<double>(in));
    span.end = Seconds(take<double>(in));
    span.microbatch = take<std::int32_t>(in);
    span.vp_stage = take<std::int32_t>(in);
    span.bucket = take<std::int32_t>(in);
    span.bytes.value = take<double>(in);
    const auto size = take<std::uint32_t>(in);
    span.name = in.substr(0, size);
    in.remove_prefix(size);
    timeline.add(std::move(span));
  }
}

/// All ranks' words, one rank after another; nothing where a peer is lost.
std::vector<std::int32_t> all_gather(Device& device,
                                     Communicator& world,
                                     const std::vector<std::int64_t>& counts,
                                     const void* own) {
  const std::int64_t total = std::accumulate(counts.begin(), counts.end(), std::int64_t{0});
  const auto rank = static_cast<std::size_t>(world.rank());
  const std::int64_t first = std::accumulate(
      counts.begin(), counts.begin() + static_cast<std::ptrdiff_t>(rank), std::int64_t{0});
  const Buffer words = device.allocate(total * 4);
  device.copy_in(words.at(first * 4), own, counts[rank] * 4);
  world.join(world.all_gather(words.data(), counts, DataType::int32));
  std::vector<std::int32_t> all(static_cast<std::size_t>(total));
  device.copy_out(all.data(), words.data(), total * 4);
  return world.status() == SyncStatus::done ? all : std::vector<std::int32_t>{};
}

}  // namespace

Timeline gather_timeline(Device& device, Communicator* world, const Timeline& own) {
  if (world == nullptr) {
    return own;
  }
  const std::string message = encode(own);
  const auto num_words = static_cast<std::int32_t>(message.size() / 4);
  const auto size = static_cast<std::size_t>(world->size());
  const std::vector<std::int32_t> sizes =
      all_gather(device, *world, std::vector<std::int64_t>(size, 1), &num_words);
  if (sizes.empty()) {
    return own;
  }
  const std::vector<std::int64_t> counts(sizes.begin(), sizes.end());
  const std::vector<std::int32_t> all = all_gather(device, *world, counts, message.data());
  if (all.empty()) {
    return own;
  }
  Timeline merged;
  std::string_view rest(reinterpret_cast<const char*>(all.data()), all.size() * 4);
  for (const std::int64_t count : counts) {
    decode(rest.substr(0, static_cast<std::size_t>(count) * 4), merged);
    rest.remove_prefix(static_cast<std::size_t>(count) * 4);
  }
  return merged;
}

}  // namespace runflat::exec

#include "exec/files/event_file.hpp"

#include <array>
#include <bit>
#include <cerrno>
#include <chrono>
#include <climits>
#include <fmt/format.h>
#include <system_error>
#include <unistd.h>

namespace runflat::exec {
namespace {

constexpr std::array<std::uint32_t, 256> make_crc_table() {
  constexpr std::uint32_t kPolynomial = 0x82f63b78;  // Castagnoli's, reflected
  std::array<std::uint32_t, 256> table{};
  for (std::uint32_t byte = 0; byte < table.size(); ++byte) {
    std::uint32_t crc = byte;
    for (int bit = 0; bit < 8; ++bit) {
      crc = (crc >> 1) ^ ((crc & 1U) != 0 ? kPolynomial : 0U);
    }
    table[byte] = crc;
  }
  return table;
}

constexpr std::array<std::uint32_t, 256> kCrcTable = make_crc_table();

template <typename Integer>
std::string little_endian(Integer value) {
  std::string bytes;
  for (std::size_t i = 0; i < sizeof value; ++i) {
    bytes += static_cast<char>((value >> (8 * i)) & 0xff);
  }
  return bytes;
}

// Protocol buffers: a field is its number and wire type, then its value.

std::string varint(std::uint64_t value) {
  std::string bytes;
  for (; value >= 0x80; value >>= 7) {
    bytes += static_cast<char>((value & 0x7f) | 0x80);
  }
  return bytes + static_cast<char>(value);
}

std::string tag(std::uint32_t field, std::uint32_t wire_type) {
  return varint((field << 3) | wire_type);
}

std::string double_field(std::uint32_t field, double value) {
  return tag(field, 1) + little_endian(std::bit_cast<std::uint64_t>(value));
}

std::string float_field(std::uint32_t field, float value) {
  return tag(field, 5) + little_endian(std::bit_cast<std::uint32_t>(value));
}

std::string bytes_field(std::uint32_t field, std::string_view bytes) {
  return tag(field, 2) + varint(bytes.size()) + std::string(bytes);
}

/// Event.wall_time.
std::string wall_time() {
  const std::chrono::duration<double> now = std::chrono::system_clock::now().time_since_epoch();
  return double_field(1, now.count());
}

std::filesystem::path new_path(const std::filesystem::path& directory) {
  std::array<char, HOST_NAME_MAX + 1> host{};
  gethostname(host.data(), host.size() - 1);
  const auto seconds =
      std::chrono::floor<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch());
  return directory /
         fmt::format("events.out.tfevents.{:010}.{}.{}.0", seconds.count(), host.data(), getpid());
}

}  // namespace

std::uint32_t crc32c(std::string_view bytes) {
  std::uint32_t crc = 0xffffffff;
  for (const char c : bytes) {
    crc = (crc >> 8) ^ kCrcTable[(crc ^ static_cast<unsigned char>(c)) & 0xff];
  }
  return ~crc;
}

std::uint32_t masked_crc32c(std::string_view bytes) {
  return std::rotr(crc32c(bytes), 15) + 0xa282ead8;
}

EventFile::EventFile(const std::filesystem::path& directory) {
  std::filesystem::create_directories(directory);
  const std::filesystem::path path = new_path(directory);
  out_.open(path, std::ios::binary);
  if (!out_) {
    throw std::filesystem::filesystem_error(
        "cannot write", path, std::error_code(errno, std::generic_category()));
  }
  write_record(wall_time() + bytes_field(3, "brain.Event:2"));
}

void EventFile::add(std::int64_t step, const Scalars& scalars) {
  std::string summary;
  for (const auto& [name, value] : scalars) {
    summary += bytes_field(1, bytes_field(1, name) + float_field(2, static_cast<float>(value)));
  }
  write_record(wall_time() + tag(2, 0) + varint(static_cast<std::uint64_t>(step)) +
               bytes_field(5, summary));
}

void EventFile::write_record(const std::string& event) {
  const std::string length = little_endian(std::uint64_t{event.size()});
  out_ << length << little_endian(masked_crc32c(length)) << event
       << little_endian(masked_crc32c(event)) << std::flush;
}

}  // namespace runflat::exec

#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace runflat::exec {

/// Scalars for TensorBoard: a file of records (length and content, each with a masked CRC-32C) that
/// hold tensorflow.Event messages.
class EventFile {
 public:
  using Scalars = std::vector<std::pair<std::string, double>>;

  /// A new file in the directory, which is made where there is none. filesystem_error where it
  /// cannot be.
  explicit EventFile(const std::filesystem::path& directory);

  /// Values of a step by tag; on the disk when it returns, as far as the system goes.
  void add(std::int64_t step, const Scalars& scalars);

 private:
  void write_record(const std::string& event);

  std::ofstream out_;
};

/// CRC-32C (Castagnoli), and as TensorFlow stores it.
[[nodiscard]] std::uint32_t crc32c(std::string_view bytes);
[[nodiscard]] std::uint32_t masked_crc32c(std::string_view bytes);

}  // namespace runflat::exec

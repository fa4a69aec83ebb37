#pragma once

#include "exec/files/mapped_file.hpp"
#include "exec/files/new_file.hpp"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace runflat::exec {

/// Bytes of one element of a type by its name in the format (F32, BF16, I64, ...); 0 for any other.
[[nodiscard]] std::int64_t safetensors_element_size(std::string_view dtype);

/// A tensor in C order.
struct SafetensorsTensor {
  std::string name;
  std::string dtype;  ///< as in the format
  std::vector<std::int64_t> shape;

  friend bool operator==(const SafetensorsTensor&, const SafetensorsTensor&) = default;
};

using SafetensorsMetadata = std::vector<std::pair<std::string, std::string>>;

/// A file of the format `safetensors`: u64 N, N bytes of JSON, then the data without holes, all
/// little-endian. The constructor checks all that the format demands: the header is at most 100 MB,
/// and the tensors cover the data once, with the sizes that their shapes say. ParseError otherwise.
class SafetensorsFile {
 public:
  explicit SafetensorsFile(std::filesystem::path path);

  [[nodiscard]] const std::filesystem::path& path() const { return path_; }
  /// In the order of their data.
  [[nodiscard]] const std::vector<SafetensorsTensor>& tensors() const { return tensors_; }
  [[nodiscard]] const SafetensorsMetadata& metadata() const { return metadata_; }
  /// ParseError where there is no tensor of this name.
  [[nodiscard]] std::size_t index_of(std::string_view name) const;
  [[nodiscard]] std::span<const std::byte> data(std::size_t tensor) const;

 private:
  void read_header(std::string_view text);

  std::filesystem::path path_;
  MappedFile file_;
  std::vector<SafetensorsTensor> tensors_;
  std::vector<std::int64_t> ends_;  // by tensor, bytes from the start of the data
  std::map<std::string, std::size_t, std::less<>> index_;
  SafetensorsMetadata metadata_;
  std::span<const std::byte> data_;
};

/// Writes such a file; it appears whole with publish(). The data come in the order of `tensors`.
class SafetensorsWriter {
 public:
  SafetensorsWriter(std::filesystem::path path,
                    const std::vector<SafetensorsTensor>& tensors,
                    const SafetensorsMetadata& metadata = {});

  /// The next bytes of the data, of any number.
  void write(std::span<const std::byte> bytes);
  /// InvalidArgument unless all data have come.
  void publish();

 private:
  NewFile file_;
  std::int64_t missing_ = 0;  // bytes
};

}  // namespace runflat::exec

#include "exec/data/indexed_dataset_writer.hpp"

#include "core/error.hpp"
#include "exec/data/index_header.hpp"
#include "exec/data/indexed_dataset.hpp"

#include <fmt/format.h>
#include <limits>
#include <utility>

namespace runflat::exec {
namespace {

template <typename T>
void write_value(NewFile& file, T value) {
  file.write(std::as_bytes(std::span(&value, 1)));
}

template <typename T>
std::vector<T> narrowed(std::span<const std::int64_t> tokens) {
  std::vector<T> out;
  out.reserve(tokens.size());
  for (const std::int64_t token : tokens) {
    require(std::in_range<T>(token), fmt::format("token {} does not fit its type", token));
    out.push_back(static_cast<T>(token));
  }
  return out;
}

}  // namespace

IndexedDatasetWriter::IndexedDatasetWriter(std::filesystem::path prefix, TokenType type)
    : prefix_(std::move(prefix)), type_(type), bin_(bin_path(prefix_)), idx_(idx_path(prefix_)) {}

void IndexedDatasetWriter::add_document(std::span<const std::int64_t> tokens) {
  if (!tokens.empty()) {
    require(std::in_range<std::int32_t>(tokens.size()), "a sequence holds less than 2^31 tokens");
    with_token_type(type_, [&]<typename T>(T /*token*/) {
      const std::vector<T> stored = narrowed<T>(tokens);
      bin_.write(std::as_bytes(std::span(stored)));
    });
    lengths_.push_back(static_cast<std::int32_t>(tokens.size()));
  }
  document_indices_.push_back(static_cast<std::int64_t>(lengths_.size()));
}

void IndexedDatasetWriter::publish() {
  bin_.sync();
  write_index();
  idx_.sync();
  std::filesystem::remove(idx_path(prefix_));
  bin_.publish();
  idx_.publish();
}

void IndexedDatasetWriter::write_index() {
  idx_.write(std::as_bytes(std::span(kIndexMagic)));
  write_value(idx_, kIndexVersion);
  write_value(idx_, static_cast<std::uint8_t>(type_));
  write_value(idx_, std::uint64_t{lengths_.size()});
  write_value(idx_, std::uint64_t{document_indices_.size()});
  idx_.write(std::as_bytes(std::span(lengths_)));
  std::int64_t pointer = 0;
  for (const std::int32_t length : lengths_) {
    write_value(idx_, pointer);
    pointer += length * static_cast<std::int64_t>(token_size(type_));
  }
  idx_.write(std::as_bytes(std::span(document_indices_)));
}

}  // namespace runflat::exec

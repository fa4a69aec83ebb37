#include "exec/checkpoint/checkpoint_part.hpp"

#include "core/document.hpp"
#include "core/error.hpp"
#include "exec/files/new_file.hpp"

#include <algorithm>
#include <fmt/format.h>

namespace runflat::exec {
namespace {

std::string file_name(std::int64_t rank) {
  return fmt::format("rank_{:05}.safetensors", rank);
}

std::vector<SafetensorsTensor> tensors_of(const CheckpointHeader& header,
                                          const std::vector<PartRange>& ranges) {
  std::vector<SafetensorsTensor> tensors;
  for (const PartRange& range : ranges) {
    for (std::size_t kind = 0; kind < header.num_kinds(); ++kind) {
      tensors.push_back(
          {.name = tensor_name(range.param, static_cast<StateKind>(kind), range.elements.first),
           .dtype = safetensors_type(header.state_type()),
           .shape = {range.elements.num}});
    }
  }
  return tensors;
}

}  // namespace

const char* safetensors_type(DataType type) {
  switch (type) {
    case DataType::fp32:
      return "F32";
    case DataType::fp64:
      return "F64";
    case DataType::bf16:
      return "BF16";
    case DataType::int32:
      return "I32";
    case DataType::int64:
      return "I64";
  }
  return "";
}

CheckpointPart::CheckpointPart(const std::filesystem::path& folder,
                               std::int64_t rank,
                               const CheckpointHeader& header,
                               const std::vector<PartRange>& ranges)
    : notes_((folder / file_name(rank)).replace_extension(".json")),
      num_kinds_(header.num_kinds()),
      writer_(folder / file_name(rank), tensors_of(header, ranges)) {
  for (const PartRange& range : ranges) {
    pieces_.push_back(
        {.param = range.param, .piece = {.file = file_name(rank), .elements = range.elements}});
  }
}

void CheckpointPart::write(std::span<const std::byte> tensor) {
  pieces_.at(next_ / num_kinds_).piece.checksums[next_ % num_kinds_] = checksum_of(tensor);
  ++next_;
  writer_.write(tensor);
}

void CheckpointPart::publish() {
  require(next_ == pieces_.size() * num_kinds_, "a part holds all its tensors");
  writer_.publish();
  write_new_file(notes_, to_json_text(to_value(pieces_), -1));
}

std::vector<NotedPiece> take_notes(const std::filesystem::path& folder) {
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().extension() == ".json") {
      files.push_back(entry.path());
    }
  }
  std::vector<NotedPiece> pieces;
  for (const std::filesystem::path& file : files) {
    const Value notes = read_document(file);
    for (NotedPiece& piece : read_noted_pieces(Reader(notes, file.string()))) {
      pieces.push_back(std::move(piece));
    }
    std::filesystem::remove(file);
  }
  return pieces;
}

}  // namespace runflat::exec

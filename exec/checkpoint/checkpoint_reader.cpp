#include "exec/checkpoint/checkpoint_reader.hpp"

#include "core/error.hpp"
#include "exec/checkpoint/checkpoint_folder.hpp"
#include "exec/checkpoint/checkpoint_part.hpp"

#include <algorithm>
#include <cstring>
#include <fmt/format.h>

namespace runflat::exec {
namespace {

/// Tensors of any file start at any byte.
template <typename Stored, typename T>
void convert(std::span<const std::byte> bytes, std::span<T> out) {
  for (std::size_t i = 0; i < out.size(); ++i) {
    Stored value{};
    std::memcpy(&value, bytes.data() + i * sizeof(Stored), sizeof(Stored));
    out[i] = static_cast<T>(value);
  }
}

}  // namespace

CheckpointReader::CheckpointReader(const std::filesystem::path& path)
    : path_(find_checkpoint(path)), index_(read_index(index_path())) {
  for (const CheckpointParam& param : index_.params) {
    params_.emplace(param.name, &param);
  }
}

std::filesystem::path CheckpointReader::index_path() const {
  return path_ / "index.json";
}

const CheckpointParam& CheckpointReader::find(std::string_view param) const {
  const auto found = params_.find(param);
  if (found == params_.end()) {
    throw ParseError(index_path().string(), param, "the checkpoint has no such parameter");
  }
  return *found->second;
}

const SafetensorsFile& CheckpointReader::file(const std::string& name) {
  const auto found = files_.find(name);
  return found != files_.end() ? found->second
                               : files_.emplace(name, SafetensorsFile(path_ / name)).first->second;
}

std::span<const std::byte> CheckpointReader::tensor(const CheckpointParam& param,
                                                    const CheckpointPiece& piece,
                                                    StateKind kind) {
  const SafetensorsFile& in = file(piece.file);
  const std::string name = tensor_name(param.name, kind, piece.elements.first);
  const std::size_t index = in.index_of(name);
  const SafetensorsTensor expected{.name = name,
                                   .dtype = safetensors_type(index_.header.state_type()),
                                   .shape = {piece.elements.num}};
  if (in.tensors()[index] != expected) {
    throw ParseError(in.path().string(),
                     name,
                     fmt::format("expected {} elements of {}", piece.elements.num, expected.dtype));
  }
  const std::span<const std::byte> bytes = in.data(index);
  if (verified_.count(bytes.data()) == 0) {
    if (checksum_of(bytes) != piece.checksums[static_cast<std::size_t>(kind)]) {
      throw ParseError(
          in.path().string(), name, "the checksum does not match: the data have been changed");
    }
    verified_.insert(bytes.data());
  }
  return bytes;
}

template <typename T>
void CheckpointReader::read_as(std::string_view name,
                               StateKind kind,
                               std::int64_t first,
                               std::span<T> out) {
  const CheckpointParam& param = find(name);
  const ElementRange wanted{first, static_cast<std::int64_t>(out.size())};
  require(first >= 0 && wanted.end() <= param.num_elements(), "elements beyond the parameter");
  if (kind != StateKind::param && !index_.header.has_moments) {
    std::fill(out.begin(), out.end(), T{});
    return;
  }
  const bool is_double = index_.header.state_type() == DataType::fp64;
  const std::int64_t size = kernels::size_of(index_.header.state_type());
  for (const CheckpointPiece& piece : param.pieces) {
    const ElementRange part = overlap(wanted, piece.elements);
    if (part.num == 0) {
      continue;
    }
    const auto bytes =
        tensor(param, piece, kind)
            .subspan(static_cast<std::size_t>((part.first - piece.elements.first) * size));
    const std::span<T> to = out.subspan(static_cast<std::size_t>(part.first - first),
                                        static_cast<std::size_t>(part.num));
    is_double ? convert<double>(bytes, to) : convert<float>(bytes, to);
  }
}

void CheckpointReader::read(std::string_view param,
                            StateKind kind,
                            std::int64_t first,
                            std::span<float> out) {
  read_as(param, kind, first, out);
}

void CheckpointReader::read(std::string_view param,
                            StateKind kind,
                            std::int64_t first,
                            std::span<double> out) {
  read_as(param, kind, first, out);
}

void CheckpointReader::verify() {
  for (const CheckpointParam& param : index_.params) {
    for (const CheckpointPiece& piece : param.pieces) {
      for (std::size_t kind = 0; kind < index_.header.num_kinds(); ++kind) {
        (void)tensor(param, piece, static_cast<StateKind>(kind));
      }
    }
  }
}

}  // namespace runflat::exec

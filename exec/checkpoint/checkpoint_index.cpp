#include "exec/checkpoint/checkpoint_index.hpp"

#include "core/document.hpp"
#include "core/error.hpp"

#include <algorithm>
#include <charconv>
#include <fmt/format.h>
#include <functional>
#include <limits>
#include <map>
#include <numeric>
#include <utility>
#include <xxhash.h>

namespace runflat::exec {
namespace {

constexpr std::string_view kFormat = "runflat.checkpoint";
constexpr std::int64_t kSchema = 1;
constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();
const std::vector<std::string_view> kTypes = {"fp32", "fp64", "bf16"};  // as DataType counts them

std::string hex_of(std::uint64_t checksum) {
  return fmt::format("{:016x}", checksum);
}

std::uint64_t read_checksum(const Reader& in) {
  const std::string text = in.text();
  std::uint64_t checksum = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), checksum, 16);
  if (error != std::errc() || end != text.data() + text.size() || hex_of(checksum) != text) {
    in.fail("16 hexadecimal digits");
  }
  return checksum;
}

Value to_value(const CheckpointPiece& piece, std::size_t num_kinds) {
  Value::Array checksums;
  for (std::size_t kind = 0; kind < num_kinds; ++kind) {
    checksums.emplace_back(hex_of(piece.checksums[kind]));
  }
  return Value::Object{{"file", piece.file},
                       {"first", piece.elements.first},
                       {"num", piece.elements.num},
                       {"checksums", std::move(checksums)}};
}

CheckpointPiece read_piece(ObjectReader& members) {
  CheckpointPiece piece;
  const Reader file = members.at("file");
  piece.file = file.text();
  if (piece.file.empty() || std::filesystem::path(piece.file).filename() != piece.file) {
    file.fail("the name of a file beside the index");
  }
  piece.elements.first = members.at("first").integer(0);
  piece.elements.num = members.at("num").integer(1, kMost - piece.elements.first);
  const Reader checksums = members.at("checksums");
  const std::vector<Reader> items = checksums.items();
  if (items.size() > kNumStateKinds) {
    checksums.fail("one for each kind of state");
  }
  for (std::size_t kind = 0; kind < items.size(); ++kind) {
    piece.checksums[kind] = read_checksum(items[kind]);
  }
  members.finish();
  return piece;
}

void read_params(const Reader& in, std::vector<NotedPiece>& pieces) {
  for (const Reader& param : in.items()) {
    ObjectReader members = param.object();
    const std::string name = members.at("name").text();
    (void)members.at("shape").integers(1, kMost);
    (void)members.at("num_units").integer(1);
    for (const Reader& piece : members.at("pieces").items()) {
      ObjectReader piece_members = piece.object();
      pieces.push_back({.param = name, .piece = read_piece(piece_members)});
    }
    members.finish();
  }
}

Value to_value(const CheckpointParam& param, std::size_t num_kinds) {
  Value::Array pieces;
  for (const CheckpointPiece& piece : param.pieces) {
    pieces.push_back(to_value(piece, num_kinds));
  }
  return Value::Object{{"name", param.name},
                       {"shape", Value::array_of(param.shape)},
                       {"num_units", param.num_units},
                       {"pieces", std::move(pieces)}};
}

Value to_value(const CheckpointIndex& index) {
  Value::Array params;
  for (const CheckpointParam& param : index.params) {
    params.push_back(to_value(param, index.header.num_kinds()));
  }
  return Value::Object{{"format", std::string(kFormat)},
                       {"schema", kSchema},
                       {"header", exec::to_value(index.header)},
                       {"params", std::move(params)}};
}

void check_complete(const CheckpointParam& param, const std::filesystem::path& file) {
  std::int64_t next = 0;  // the first element that no piece has held yet
  const auto is_next = [&next](const CheckpointPiece& piece) {
    return piece.elements.first == std::exchange(next, piece.elements.end());
  };
  if (!std::all_of(param.pieces.begin(), param.pieces.end(), is_next) ||
      next != param.num_elements()) {
    throw ParseError(file.string(),
                     param.name,
                     fmt::format("expected each of its {} elements in one piece, found a gap or an "
                                 "overlap before element {}",
                                 param.num_elements(),
                                 next));
  }
}

}  // namespace

const char* to_string(StateKind kind) {
  static constexpr std::array<const char*, kNumStateKinds> kNames = {
      "param", "exp_avg", "exp_avg_sq"};
  return kNames.at(static_cast<std::size_t>(kind));
}

std::uint64_t checksum_of(std::span<const std::byte> bytes) {
  return XXH3_64bits(bytes.data(), bytes.size());
}

std::string tensor_name(std::string_view param, StateKind kind, std::int64_t first) {
  return fmt::format("{}/{}/{}", param, to_string(kind), first);
}

std::int64_t CheckpointParam::num_elements() const {
  return std::accumulate(shape.begin(), shape.end(), std::int64_t{1}, std::multiplies<>());
}

Value to_value(const CheckpointHeader& header) {
  return Value::Object{{"steps", header.progress.steps},
                       {"consumed_samples", header.progress.consumed_samples},
                       {"dtype", std::string(kTypes.at(static_cast<std::size_t>(header.type)))},
                       {"has_moments", header.has_moments},
                       {"rotary_base", header.rotary_base},
                       {"norm_epsilon", header.norm_epsilon},
                       {"model", runflat::to_value(header.model)}};
}

CheckpointHeader read_header(const Reader& in) {
  ObjectReader members = in.object();
  CheckpointHeader header;
  header.progress.steps = members.at("steps").integer(0);
  header.progress.consumed_samples = members.at("consumed_samples").integer(0);
  header.type = static_cast<DataType>(members.at("dtype").choice(kTypes));
  header.has_moments = members.at("has_moments").boolean();
  header.rotary_base = members.at("rotary_base").positive_number();
  header.norm_epsilon = members.at("norm_epsilon").positive_number();
  header.model = read_model(members.at("model"));
  members.finish();
  return header;
}

std::vector<CheckpointParam> checkpoint_params(const ModelSpec& model) {
  std::vector<CheckpointParam> params;
  for (const StageParam& param : stage_params(model, ParallelSizes{}, PpRank(0), 0)) {
    params.push_back({.name = param.name,
                      .shape = param.spec.shape,
                      .num_units = param.num_units(),
                      .pieces = {}});
  }
  return params;
}

Value to_value(const std::vector<NotedPiece>& pieces) {
  Value::Array items;
  for (const NotedPiece& noted : pieces) {
    Value item = to_value(noted.piece, kNumStateKinds);
    item.set("param", noted.param);
    items.push_back(std::move(item));
  }
  return items;
}

std::vector<NotedPiece> read_noted_pieces(const Reader& in) {
  std::vector<NotedPiece> pieces;
  for (const Reader& item : in.items()) {
    ObjectReader members = item.object();
    std::string param = members.at("param").text();
    pieces.push_back({.param = std::move(param), .piece = read_piece(members)});
  }
  return pieces;
}

CheckpointIndex make_index(const CheckpointHeader& header,
                           std::vector<NotedPiece> pieces,
                           const std::filesystem::path& file) {
  CheckpointIndex index{.header = header, .params = checkpoint_params(header.model)};
  std::map<std::string_view, CheckpointParam*> by_name;
  for (CheckpointParam& param : index.params) {
    by_name.emplace(param.name, &param);
  }
  for (NotedPiece& noted : pieces) {
    const auto found = by_name.find(noted.param);
    if (found == by_name.end()) {
      throw ParseError(file.string(), noted.param, "the model has no parameter of this name");
    }
    found->second->pieces.push_back(std::move(noted.piece));
  }
  for (CheckpointParam& param : index.params) {
    std::sort(param.pieces.begin(), param.pieces.end(), [](const auto& a, const auto& b) {
      return a.elements.first < b.elements.first;
    });
    check_complete(param, file);
  }
  return index;
}

std::string index_text(const CheckpointIndex& index) {
  Value value = to_value(index);
  const std::string text = to_json_text(value);
  const std::string checksum = hex_of(checksum_of(std::as_bytes(std::span(text))));
  value.set("checksum", checksum);
  return to_json_text(value);
}

CheckpointIndex read_index(const std::filesystem::path& file) {
  const std::string text = read_text_file(file);
  const Value value = parse_json(text, file.string());
  ObjectReader members = Reader(value, file.string()).object();
  const Reader format = members.at("format");
  if (format.text() != kFormat) {
    format.fail(fmt::format("\"{}\"", kFormat));
  }
  (void)members.at("schema").integer(kSchema, kSchema);
  const CheckpointHeader header = read_header(members.at("header"));
  std::vector<NotedPiece> pieces;
  read_params(members.at("params"), pieces);
  (void)read_checksum(members.at("checksum"));
  members.finish();
  CheckpointIndex index = make_index(header, std::move(pieces), file);
  // Written again, it must be the same: nothing was changed, and nothing was lost in reading.
  if (index_text(index) != text) {
    throw ParseError(file.string(), "checksum", "does not match: the file has been changed");
  }
  return index;
}

}  // namespace runflat::exec

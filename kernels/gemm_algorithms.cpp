#include "kernels/gemm_algorithms.hpp"

#include <filesystem>
#include <fstream>
#include <sstream>
#include <unistd.h>
#include <utility>

namespace runflat::kernels {
namespace {

using Algorithms = std::map<GemmShape, GemmAlgorithm>;

/// FNV-1a.
std::uint64_t checksum(const std::string& text) {
  std::uint64_t hash = 0xcbf29ce484222325U;
  for (const char byte : text) {
    hash = (hash ^ static_cast<unsigned char>(byte)) * 0x100000001b3U;
  }
  return hash;
}

std::string to_line(const GemmShape& shape, const GemmAlgorithm& algorithm) {
  std::ostringstream out;
  out << shape.m << ' ' << shape.n << ' ' << shape.k << ' ' << shape.transpose_a << ' '
      << shape.transpose_b << ' ' << shape.accumulate << ' ' << static_cast<int>(shape.type) << ' '
      << static_cast<int>(shape.c_type) << ' ' << shape.alignment << std::hex;
  for (const std::uint64_t word : algorithm) {
    out << ' ' << word;
  }
  return out.str();
}

/// Adds the line's algorithm, unless it is damaged.
void read_line(const std::string& line, Algorithms& algorithms) {
  const std::size_t last = line.rfind(' ');
  if (last == std::string::npos) {
    return;
  }
  const std::string body = line.substr(0, last);
  std::istringstream in(line);
  GemmShape shape;
  GemmAlgorithm algorithm = {};
  int type = 0;
  int c_type = 0;
  in >> shape.m >> shape.n >> shape.k >> shape.transpose_a >> shape.transpose_b >>
      shape.accumulate >> type >> c_type >> shape.alignment >> std::hex;
  for (std::uint64_t& word : algorithm) {
    in >> word;
  }
  std::uint64_t sum = 0;
  in >> sum;
  if (in.fail() || sum != checksum(body)) {
    return;
  }
  shape.type = static_cast<DataType>(type);
  shape.c_type = static_cast<DataType>(c_type);
  algorithms.insert_or_assign(shape, algorithm);
}

Algorithms read_file(const std::string& path) {
  Algorithms out;
  std::ifstream in(path);
  for (std::string line; std::getline(in, line);) {
    read_line(line, out);
  }
  return out;
}

void write_file(const std::string& path, const Algorithms& algorithms) {
  const std::string part = path + "." + std::to_string(getpid());
  std::ofstream out(part);
  for (const auto& [shape, algorithm] : algorithms) {
    const std::string line = to_line(shape, algorithm);
    out << line << ' ' << std::hex << checksum(line) << '\n';
  }
  out.close();
  std::error_code error;
  if (out.fail()) {
    std::filesystem::remove(part, error);
  } else {
    std::filesystem::rename(part, path, error);
  }
}

}  // namespace

GemmAlgorithms::GemmAlgorithms(std::string path) : path_(std::move(path)) {
  if (!path_.empty()) {
    algorithms_ = read_file(path_);
  }
}

std::optional<GemmAlgorithm> GemmAlgorithms::find(const GemmShape& shape) const {
  const auto found = algorithms_.find(shape);
  return found == algorithms_.end() ? std::nullopt : std::optional(found->second);
}

void GemmAlgorithms::insert(const GemmShape& shape, const GemmAlgorithm& algorithm) {
  algorithms_.insert_or_assign(shape, algorithm);
  if (!path_.empty()) {
    algorithms_.merge(read_file(path_));
    write_file(path_, algorithms_);
  }
}

}  // namespace runflat::kernels

#include "exec/checkpoint/checkpoint_reader.hpp"

#include "core/error.hpp"
#include "tests/catch.hpp"
#include "tests/dice.hpp"
#include "tests/exec/checkpoint_files.hpp"
#include "tests/exec/data_files.hpp"
#include "tests/exec/temporary_directory.hpp"

#include <filesystem>
#include <string>
#include <vector>

using namespace runflat;
using namespace runflat::exec;
using namespace runflat::tests;

namespace {

/// What is wrong with the checkpoint; empty when it loads, and then it holds what was saved.
std::string error_of(const std::filesystem::path& folder, std::int64_t step) {
  try {
    const bool is_right = contents(folder) == tiny_contents(step) &&
                          CheckpointReader(folder).index().header == tiny_header(step);
    CHECK(is_right);
  } catch (const ParseError& error) {
    CHECK(std::string(error.what()).find('\n') == std::string::npos);
    return error.what();
  }
  return "";
}

std::vector<std::filesystem::path> files_of(const std::filesystem::path& checkpoint) {
  return {checkpoint / "index.json", checkpoint / "rank_00000.safetensors"};
}

}  // namespace

TEST_CASE("any range of elements is read, converted as asked", "[exec][ckpt]") {
  const TemporaryDirectory folder(memory_folder());
  save_tiny(folder.path(), 7);
  CheckpointReader reader(folder.path());
  std::vector<double> doubles(3);
  reader.read("decoder.final_layernorm.weight", StateKind::exp_avg, 1, std::span(doubles));
  CHECK(doubles == std::vector<double>{8.0, 8.0, 8.0});
  std::vector<float> beyond(4);
  CHECK_THROWS_AS(
      reader.read("decoder.final_layernorm.weight", StateKind::param, 1, std::span(beyond)),
      InvalidArgument);
  CHECK_THROWS_AS(reader.read("none", StateKind::param, 0, std::span(beyond)), ParseError);
}

TEST_CASE("a checkpoint with any bit changed does not load wrong", "[exec][ckpt]") {
  const TemporaryDirectory folder(memory_folder());
  save_tiny(folder.path(), 5);
  Dice dice(3);
  int num_refused = 0;
  constexpr int kFlips = 400;
  for (int i = 0; i < kFlips; ++i) {
    for (const std::filesystem::path& file : files_of(find_checkpoint(folder.path()))) {
      const std::string whole = bytes_of(file);
      std::string changed = whole;
      const auto at =
          static_cast<std::size_t>(dice.between(0, static_cast<std::int64_t>(whole.size()) - 1));
      changed[at] = static_cast<char>(changed[at] ^ (1 << dice.between(0, 7)));
      write_bytes(file, changed);
      CAPTURE(file.filename(), at);
      num_refused += error_of(folder.path(), 5).empty() ? 0 : 1;
      write_bytes(file, whole);
    }
  }
  CHECK(num_refused > kFlips);  // all in the index, and most in the data
}

TEST_CASE("a truncated or missing file is one line with its name", "[exec][ckpt]") {
  const TemporaryDirectory folder(memory_folder());
  save_tiny(folder.path(), 5);
  for (const std::filesystem::path& file : files_of(find_checkpoint(folder.path()))) {
    const std::string whole = bytes_of(file);
    for (std::size_t size = 0; size < whole.size(); size += 61) {
      write_bytes(file, whole.substr(0, size));
      CHECK(error_of(folder.path(), 5).find(file.filename().string()) != std::string::npos);
    }
    std::filesystem::remove(file);
    CHECK(!error_of(folder.path(), 5).empty());
    write_bytes(file, whole);
  }
  CHECK(error_of(folder.path(), 5).empty());
}

TEST_CASE("a folder without a checkpoint says so", "[exec][ckpt]") {
  const TemporaryDirectory folder(memory_folder());
  CHECK_THROWS_AS(CheckpointReader(folder.path()), ParseError);
  for (const char* latest : {"", "step_00000001\n", "../step_00000001", "step_x"}) {
    write_bytes(folder.path() / "latest", latest);
    CHECK_THROWS_AS(CheckpointReader(folder.path()), ParseError);
  }
}

TEST_CASE("shards of two checkpoints do not mix", "[exec][ckpt]") {
  const TemporaryDirectory folder(memory_folder());
  save_tiny(folder.path(), 1);
  save_tiny(folder.path(), 2);
  std::filesystem::copy_file(folder.path() / "step_00000001" / "rank_00000.safetensors",
                             folder.path() / "step_00000002" / "rank_00000.safetensors",
                             std::filesystem::copy_options::overwrite_existing);
  CHECK(error_of(folder.path(), 2).find("checksum") != std::string::npos);
}

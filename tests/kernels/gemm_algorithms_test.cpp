#include "kernels/gemm_algorithms.hpp"

#include "tests/catch.hpp"

#include <filesystem>
#include <fstream>
#include <iterator>
#include <unistd.h>

using namespace runflat;
using kernels::GemmAlgorithm;
using kernels::GemmAlgorithms;
using kernels::GemmShape;

namespace {

/// A file's path in a folder of its own, which goes with it.
class ScratchFile {
 public:
  ScratchFile() { std::filesystem::create_directories(folder_); }
  ScratchFile(const ScratchFile&) = delete;
  ScratchFile& operator=(const ScratchFile&) = delete;
  ~ScratchFile() { std::filesystem::remove_all(folder_); }

  [[nodiscard]] std::string path() const { return folder_ / "algorithms.txt"; }
  [[nodiscard]] std::string read() const {
    std::ifstream in(path());
    return {std::istreambuf_iterator<char>(in), {}};
  }
  void write(const std::string& text) const { std::ofstream(path()) << text; }
  [[nodiscard]] std::int64_t num_files() const {
    return std::distance(std::filesystem::directory_iterator(folder_), {});
  }

 private:
  std::filesystem::path folder_ =
      std::filesystem::temp_directory_path() / ("gemm_algorithms." + std::to_string(getpid()));
};

const GemmShape kSmall = {.m = 8, .n = 16, .k = 32};
const GemmShape kLarge = {.m = 8192,
                          .n = 128256,
                          .k = 4096,
                          .transpose_a = true,
                          .accumulate = true,
                          .type = kernels::DataType::bf16,
                          .alignment = 2};
const GemmAlgorithm kFirst = {1, 2, 3, 4, 5, 6, 7, 0xffffffffffffffff};
const GemmAlgorithm kSecond = {8, 7, 6, 5, 4, 3, 2, 1};

}  // namespace

TEST_CASE("algorithms come back from the file", "[kernels][gemm]") {
  const ScratchFile file;
  GemmAlgorithms written(file.path());
  CHECK_FALSE(written.find(kSmall));
  written.insert(kSmall, kFirst);
  written.insert(kLarge, kSecond);
  const GemmAlgorithms read(file.path());
  CHECK(read.find(kSmall) == kFirst);
  CHECK(read.find(kLarge) == kSecond);
  GemmShape other = kLarge;
  other.accumulate = false;
  CHECK_FALSE(read.find(other));
  CHECK(file.num_files() == 1);
}

TEST_CASE("what another process added meanwhile is kept", "[kernels][gemm]") {
  const ScratchFile file;
  GemmAlgorithms ours(file.path());
  GemmAlgorithms theirs(file.path());
  theirs.insert(kSmall, kFirst);
  ours.insert(kLarge, kSecond);
  const GemmAlgorithms read(file.path());
  CHECK(read.find(kSmall) == kFirst);
  CHECK(read.find(kLarge) == kSecond);
}

TEST_CASE("a damaged line is as if it were not there, and leaves the others", "[kernels][gemm]") {
  const ScratchFile file;
  GemmAlgorithms written(file.path());
  written.insert(kSmall, kFirst);
  written.insert(kLarge, kSecond);
  const std::string good = file.read();
  for (std::size_t i = 0; i < good.size(); ++i) {
    CAPTURE(i);
    std::string bad = good;
    bad.at(i) = bad.at(i) == '7' ? '6' : '7';
    file.write(bad);
    const GemmAlgorithms read(file.path());
    const auto small = read.find(kSmall);
    const auto large = read.find(kLarge);
    CHECK((!small || *small == kFirst));
    CHECK((!large || *large == kSecond));
    CHECK((small.has_value() || large.has_value() || bad.at(i) == '7'));
    file.write(good.substr(0, i));  // a file cut short
    CHECK((!GemmAlgorithms(file.path()).find(kSmall) || i >= good.find('\n')));
  }
}

TEST_CASE("a folder that is not there costs nothing but the memory", "[kernels][gemm]") {
  GemmAlgorithms kept("/nonexistent/folder/algorithms.txt");
  kept.insert(kSmall, kFirst);
  CHECK(kept.find(kSmall) == kFirst);
}

#include "exec/data/training_data.hpp"

#include "core/document.hpp"
#include "core/error.hpp"
#include "tests/catch.hpp"
#include "tests/exec/data_files.hpp"

#include <fmt/format.h>
#include <set>

using namespace runflat;
using namespace runflat::exec;

namespace {

ModelSpec model() {
  ModelSpec model;
  model.seq_length = 4;
  model.padded_vocab_size = 50;
  return model;
}

DataConfig config_of(const std::string& toml) {
  const Value document = parse_toml(toml, "data.toml");
  return read_data(Reader(document, "data.toml"));
}

/// The tokens that occur in the first samples.
std::set<std::int64_t> tokens_of(const SampleSource& source, std::int64_t num_samples) {
  std::set<std::int64_t> seen;
  std::vector<std::int64_t> tokens(4);
  std::vector<std::int64_t> labels(4);
  std::vector<float> mask(4);
  for (std::int64_t sample = 0; sample < num_samples; ++sample) {
    source.fill(sample, tokens, labels, mask);
    seen.insert(tokens.begin(), tokens.end());
  }
  return seen;
}

}  // namespace

TEST_CASE("splits of a prefix share nothing", "[exec][data]") {
  const TemporaryDirectory folder;
  Documents documents;
  for (std::int64_t i = 0; i < 10; ++i) {
    documents.push_back(std::vector<std::int64_t>(9, i));
  }
  static_cast<void>(write_documents(folder.path() / "a", documents));
  const std::string path = folder.path() / "a";
  const DataConfig config = config_of(fmt::format("data_path = \"{}\"\nsplit = \"8, 2\"", path));
  const auto train = make_samples(config, model(), Split::train, 100, 1);
  const auto valid = make_samples(config, model(), Split::valid, 100, 1);
  CHECK(tokens_of(*train, 100) == std::set<std::int64_t>{0, 1, 2, 3, 4, 5, 6, 7});
  CHECK(tokens_of(*valid, 100) == std::set<std::int64_t>{8, 9});
  CHECK_THROWS_WITH(make_samples(config, model(), Split::test, 1, 1),
                    path + ": the split gives none of the 10 sequences to test");
}

TEST_CASE("a blend takes from its prefixes by weight", "[exec][data]") {
  const TemporaryDirectory folder;
  std::string paths;
  for (std::int64_t i = 0; i < 2; ++i) {
    const std::string path = folder.path() / std::to_string(i);
    static_cast<void>(write_documents(path, {std::vector<std::int64_t>(90, i)}));
    paths += fmt::format("\"{}\",", path);
  }
  const DataConfig config =
      config_of(fmt::format("data_path = [{}]\nblend_weights = [3, 1]\nsplit = \"1\"", paths));
  const auto source = make_samples(config, model(), Split::train, 80, 1);
  std::int64_t num_of_second = 0;
  for (std::int64_t sample = 0; sample < 80; ++sample) {
    std::vector<std::int64_t> tokens(4);
    std::vector<std::int64_t> labels(4);
    std::vector<float> mask(4);
    source->fill(sample, tokens, labels, mask);
    num_of_second += tokens.front();
  }
  CHECK(num_of_second == 20);
  CHECK_THROWS_AS(config_of(fmt::format("data_path = [{}]\nblend_weights = [3]", paths)),
                  ParseError);
  CHECK_THROWS_AS(config_of("data_path = []"), ParseError);
}

TEST_CASE("mock data needs no file and its splits differ", "[exec][data]") {
  const DataConfig config = config_of("mock_data = true");
  const auto train = make_samples(config, model(), Split::train, 8, 1);
  const auto valid = make_samples(config, model(), Split::valid, 8, 1);
  CHECK(train->num_samples() == 8);
  CHECK(tokens_of(*train, 8) != tokens_of(*valid, 8));
}

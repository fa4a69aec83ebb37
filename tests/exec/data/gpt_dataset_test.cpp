#include "exec/data/gpt_dataset.hpp"

#include "core/error.hpp"
#include "exec/data/index_header.hpp"
#include "tests/catch.hpp"
#include "tests/dice.hpp"
#include "tests/exec/data_files.hpp"
#include "tests/sim/golden_table.hpp"

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <map>
#include <numeric>
#include <set>
#include <string>
#include <vector>

using namespace runflat;
using namespace runflat::exec;

namespace {

constexpr std::int64_t kVocab = 1'000'000;

/// Token t of document d is 1000 d + t + 1, so that every token says where it is from.
Documents telling_documents(const std::vector<std::int64_t>& lengths) {
  Documents documents;
  for (std::size_t d = 0; d < lengths.size(); ++d) {
    documents.emplace_back(static_cast<std::size_t>(lengths[d]));
    std::iota(
        documents.back().begin(), documents.back().end(), 1000 * static_cast<std::int64_t>(d) + 1);
  }
  return documents;
}

/// The writer leaves empty sequences out; a length of 0 is put into the index afterwards.
IndexedDataset write_lengths(const std::filesystem::path& prefix,
                             const std::vector<std::int64_t>& lengths) {
  Documents documents = telling_documents(lengths);
  for (auto& document : documents) {
    document.resize(std::max<std::size_t>(document.size(), 1));
  }
  write_documents(prefix, documents);
  std::string idx = bytes_of(idx_path(prefix));
  for (std::size_t i = 0; i < lengths.size(); ++i) {
    const auto length = static_cast<std::int32_t>(lengths[i]);
    std::memcpy(idx.data() + kIndexHeaderSize + 4 * i, &length, 4);
  }
  write_bytes(idx_path(prefix), idx);
  return IndexedDataset(prefix);
}

GptDataset telling_dataset(const TemporaryDirectory& folder,
                           const std::vector<std::int64_t>& lengths,
                           GptDatasetConfig config) {
  IndexedDataset data = write_lengths(folder.path() / "text", lengths);
  config.vocab_size = kVocab;
  if (config.sequences.num == 0) {
    config.sequences = {.first = 0, .num = data.num_sequences()};
  }
  return GptDataset(std::move(data), config);
}

struct Sample {
  explicit Sample(const SampleSource& source, std::int64_t sample)
      : tokens(static_cast<std::size_t>(source.seq_length())),
        labels(tokens.size()),
        loss_mask(tokens.size()) {
    source.fill(sample, tokens, labels, loss_mask);
  }
  std::vector<std::int64_t> tokens;
  std::vector<std::int64_t> labels;
  std::vector<float> loss_mask;
};

/// The tokens of all epochs in the order of the document index.
std::vector<std::int64_t> stream_of(const GptDataset& dataset, const Documents& documents) {
  std::vector<std::int64_t> stream;
  for (const std::int32_t sequence : dataset.document_index()) {
    const auto& document = documents[static_cast<std::size_t>(sequence)];
    stream.insert(stream.end(), document.begin(), document.end());
  }
  return stream;
}

std::vector<std::int64_t> numbers(const std::vector<std::string>& row) {
  std::vector<std::int64_t> out;
  for (std::size_t i = 1; i < row.size(); ++i) {
    out.push_back(std::stoll(row[i]));
  }
  return out;
}

}  // namespace

TEST_CASE("the order of samples is that of Megatron's GPTDataset", "[exec][data]") {
  std::map<std::string, std::vector<std::int64_t>> golden;
  int num_cases = 0;
  for (const auto& row : sim::read_golden("gpt_dataset_order.txt")) {
    golden[row[0]] = numbers(row);
    if (row[0] != "shuffle_index") {
      continue;
    }
    const std::vector<std::int64_t>& given = golden["case"];
    const TemporaryDirectory folder;
    const GptDataset dataset = telling_dataset(folder,
                                               golden["lengths"],
                                               {.seq_length = given[1],
                                                .num_samples = given[2],
                                                .seed = static_cast<std::uint32_t>(given[0])});
    const auto documents = dataset.document_index();
    CHECK(std::vector<std::int64_t>(documents.begin(), documents.end()) ==
          golden["document_index"]);
    const auto shuffle = dataset.shuffle_index();
    CHECK(std::vector<std::int64_t>(shuffle.begin(), shuffle.end()) == golden["shuffle_index"]);
    std::vector<std::int64_t> sample_index;
    for (std::int64_t i = 0; i <= dataset.num_samples(); ++i) {
      const GptDataset::Place place = dataset.sample_index(i);
      sample_index.insert(sample_index.end(), {place.document, place.offset});
    }
    CHECK(sample_index == golden["sample_index"]);
    ++num_cases;
  }
  CHECK(num_cases >= 4);
}

TEST_CASE("every sample is its window of the stream", "[exec][data]") {
  tests::Dice dice(11);
  for (int round = 0; round < 60; ++round) {
    std::vector<std::int64_t> lengths(static_cast<std::size_t>(dice.between(1, 12)));
    std::ranges::generate(lengths, [&] { return dice.between(0, 9); });
    lengths.push_back(1);
    const std::int64_t seq = dice.between(1, 15);
    const std::int64_t asked = dice.between(1, 60);
    const TemporaryDirectory folder;
    const GptDataset dataset =
        telling_dataset(folder, lengths, {.seq_length = seq, .num_samples = asked, .seed = 42});
    REQUIRE(dataset.num_samples() >= asked);
    const std::vector<std::int64_t> stream = stream_of(dataset, telling_documents(lengths));
    const auto size = static_cast<std::int64_t>(stream.size());
    CHECK(dataset.num_samples() == (size - 1) / seq);
    std::set<std::int64_t> seen;
    for (std::int64_t i = 0; i < dataset.num_samples(); ++i) {
      const Sample sample(dataset, i);
      const std::int64_t window = dataset.shuffle_index()[static_cast<std::size_t>(i)];
      const auto begin = stream.begin() + window * seq;
      CHECK(std::equal(sample.tokens.begin(), sample.tokens.end(), begin));
      CHECK(std::equal(sample.labels.begin(), sample.labels.end(), begin + 1));
      CHECK(std::ranges::count(sample.loss_mask, 1.0F) == seq);
      CHECK(seen.insert(window).second);
    }
  }
}

TEST_CASE("epochs are as few as suffice, and a short last one comes last", "[exec][data]") {
  const std::vector<std::int64_t> lengths = {50, 20, 31};  // 101 tokens: 10 samples of 10
  const TemporaryDirectory folder;
  const auto num_epochs = [&](std::int64_t asked) {
    const GptDataset dataset =
        telling_dataset(folder, lengths, {.seq_length = 10, .num_samples = asked, .seed = 1});
    return dataset.document_index().size() / lengths.size();
  };
  CHECK(num_epochs(10) == 1);  // 10 * 10 + 1 tokens
  CHECK(num_epochs(11) == 2);
  CHECK(num_epochs(20) == 2);  // 201 of 202
  CHECK(num_epochs(21) == 3);

  // Of 17 samples 7 are from the second epoch, below 80 % of 10: the first 10 come first.
  const GptDataset apart =
      telling_dataset(folder, lengths, {.seq_length = 10, .num_samples = 17, .seed = 1});
  CHECK(std::ranges::max(apart.shuffle_index().first(10)) == 9);
  // Of 18, 8 are: shuffled together.
  const GptDataset together =
      telling_dataset(folder, lengths, {.seq_length = 10, .num_samples = 18, .seed = 1});
  CHECK(std::ranges::max(together.shuffle_index().first(10)) > 9);
}

TEST_CASE("80 % in integers is Python's int(0.80 * n)", "[exec][data]") {
  for (std::int64_t n = 0; n < 100'000; ++n) {
    REQUIRE(4 * n / 5 == static_cast<std::int64_t>(0.80 * static_cast<double>(n)));
  }
  tests::Dice dice(2);
  for (int i = 0; i < 100'000; ++i) {
    const std::int64_t n = dice.between(0, std::int64_t{1} << 45);
    REQUIRE(4 * n / 5 == static_cast<std::int64_t>(0.80 * static_cast<double>(n)));
  }
}

TEST_CASE("a split reads its own sequences only", "[exec][data]") {
  const TemporaryDirectory folder;
  const GptDataset dataset = telling_dataset(
      folder, {9, 9, 9, 9}, {.sequences = {1, 2}, .seq_length = 4, .num_samples = 30, .seed = 3});
  for (std::int64_t i = 0; i < dataset.num_samples(); ++i) {
    for (const std::int64_t token : Sample(dataset, i).tokens) {
      CHECK((token / 1000 == 1 || token / 1000 == 2));
    }
  }
}

TEST_CASE("a last sample that is kept is padded behind a mask", "[exec][data]") {
  const TemporaryDirectory folder;
  const GptDataset dataset = telling_dataset(
      folder, {7}, {.seq_length = 4, .seed = 3, .drop_last_partial_sequence = false});
  REQUIRE(dataset.num_samples() == 2);  // 6 labels
  const std::int64_t last = dataset.shuffle_index()[0] == 1 ? 0 : 1;
  const Sample sample(dataset, last);
  CHECK(sample.tokens == std::vector<std::int64_t>{5, 6, 7, 0});
  CHECK(sample.labels == std::vector<std::int64_t>{6, 7, 0, 0});
  CHECK(sample.loss_mask == std::vector<float>{1, 1, 0, 0});
}

TEST_CASE("samples are counted in integers beyond 2^24 tokens", "[exec][data]") {
  const TemporaryDirectory folder;
  const std::filesystem::path prefix = folder.path() / "text";
  write_documents(prefix, {{0}}, TokenType::uint8);
  constexpr std::int32_t kLength =
      (1 << 24) + 2;  // 2^24 + 1 labels, which 32-bit floats do not hold
  std::filesystem::resize_file(bin_path(prefix), kLength);
  std::string idx = bytes_of(idx_path(prefix));
  std::memcpy(idx.data() + kIndexHeaderSize, &kLength, sizeof kLength);
  write_bytes(idx_path(prefix), idx);
  const GptDataset dataset(IndexedDataset(prefix),
                           {.sequences = {0, 1},
                            .seq_length = 4096,
                            .vocab_size = 1,
                            .drop_last_partial_sequence = false});
  REQUIRE(dataset.num_samples() == 4097);
  const auto shuffle = dataset.shuffle_index();
  const Sample last(dataset, std::ranges::find(shuffle, 4096) - shuffle.begin());
  CHECK(std::ranges::count(last.loss_mask, 1.0F) == 1);
}

TEST_CASE("no loss counts behind the end of a document where so asked", "[exec][data]") {
  const TemporaryDirectory folder;
  const GptDataset dataset =
      telling_dataset(folder, {6}, {.seq_length = 5, .seed = 3, .eod_mask_loss = 4});
  const Sample sample(dataset, 0);
  CHECK(sample.tokens == std::vector<std::int64_t>{1, 2, 3, 4, 5});
  CHECK(sample.loss_mask == std::vector<float>{1, 1, 1, 0, 1});
}

TEST_CASE("a token outside the vocabulary is named with its place", "[exec][data]") {
  const TemporaryDirectory folder;
  const std::int64_t token = GENERATE(-1, 10, 500);
  const GptDataset dataset(write_documents(folder.path() / "text", {{1, 2, 3}, {4, 5, token}}),
                           {.sequences = {0, 2}, .seq_length = 5, .vocab_size = 10});
  CHECK_THROWS_WITH(Sample(dataset, 0),
                    (folder.path() / "text.bin").string() +
                        ": sequence 1, token 2: expected an id of the vocabulary, 0 to 9, found " +
                        std::to_string(token));
}

TEST_CASE("data too short for a sample is named", "[exec][data]") {
  const TemporaryDirectory folder;
  CHECK_THROWS_AS(telling_dataset(folder, {}, {.seq_length = 4, .num_samples = 1}), ParseError);
  CHECK_THROWS_AS(telling_dataset(folder, {3, 1}, {.seq_length = 4}), ParseError);
  CHECK(telling_dataset(folder, {3, 2}, {.seq_length = 4}).num_samples() == 1);
  CHECK(telling_dataset(folder, {1}, {.seq_length = 4, .num_samples = 2}).num_samples() == 2);
}

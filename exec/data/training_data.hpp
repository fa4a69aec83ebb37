#pragma once

#include "core/model.hpp"
#include "core/reader.hpp"
#include "exec/data/dataset_split.hpp"
#include "exec/data/sample_source.hpp"

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace runflat::exec {

/// What a job trains on.
struct DataConfig {
  bool is_mock = false;
  std::vector<std::string> prefixes;  ///< of .bin and .idx files; none with mock data
  std::vector<double> blend_weights;  ///< of each prefix; only proportions count
  SplitWeights split = {969.0, 30.0, 1.0};
  std::optional<std::int64_t> eod_mask_loss;  ///< the token behind which no loss counts
};

/// `[data]` in Megatron's names: `mock_data = true`, or `data_path` (one prefix or several,
/// relative to the working directory) with blend_weights and split; eod_mask_loss with
/// eod_token_id.
[[nodiscard]] DataConfig read_data(const Reader& in);

/// At least `num_samples` samples of a split, in an order that depends on the seed. ParseError
/// where the files cannot be read, hold tokens outside the model's vocabulary (as far as the first
/// 2^24 tell), or the split has none.
[[nodiscard]] std::unique_ptr<SampleSource> make_samples(const DataConfig& config,
                                                         const ModelSpec& model,
                                                         Split split,
                                                         std::int64_t num_samples,
                                                         std::uint32_t seed);

}  // namespace runflat::exec

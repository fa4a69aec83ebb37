#include "exec/checkpoint/checkpoint_state.hpp"

#include "core/document.hpp"
#include "core/error.hpp"

#include <fmt/format.h>
#include <type_traits>

namespace runflat::exec {
namespace {

/// Appends to a StateCopy what one stage brings.
class Copier {
 public:
  Copier(Device& device, StageState& stage, StateCopy& out)
      : device_(device), stage_(stage), out_(out) {}

  void add(const Bucket& bucket) {
    const StagePlace& place = stage_.place();
    // Peers divide even what all of them hold.
    const ElementRange share = StageState::slice_of(bucket.shape, place.peer, place.num_peers);
    for (const SliceRun& run : runs_of(stage_.layout(), bucket.shape, share)) {
      if (stage_.counts(run.param)) {
        add(bucket, run);
      }
    }
  }

 private:
  void add(const Bucket& bucket, const SliceRun& run) {
    const std::int64_t size = kernels::size_of(stage_.accumulate_type());
    const std::int64_t at = (run.sync_offset - bucket.slice.elements.first) * size;
    out_.ranges.push_back({stage_.params()[run.param].name, run.elements});
    append(stage_.master_at(bucket, bucket.slice, run.sync_offset), run.elements.num * size);
    append(bucket.slice.exp_avg.at(at), run.elements.num * size);
    append(bucket.slice.exp_avg_sq.at(at), run.elements.num * size);
  }

  void append(const void* data, std::int64_t bytes) {
    const std::size_t offset = out_.bytes.size();
    out_.bytes.resize(offset + static_cast<std::size_t>(bytes));
    device_.copy_out(out_.bytes.data() + offset, data, bytes);
  }

  Device& device_;
  StageState& stage_;
  StateCopy& out_;
};

/// Loads one stage with state of type T.
template <typename T>
class Loader {
 public:
  Loader(Device& device, CheckpointReader& reader, StageState& stage)
      : device_(device), reader_(reader), stage_(stage) {}

  void run() {
    for (std::size_t param = 0; param < stage_.params().size(); ++param) {
      load_weights(param);
    }
    for (const Bucket& bucket : stage_.buckets()) {
      load_slice(bucket, bucket.slice);
      if (bucket.buddy) {
        load_slice(bucket, *bucket.buddy);
      }
    }
  }

 private:
  void load_weights(std::size_t param) {
    const ParamSlot& slot = stage_.layout().slots[param];
    load_weights(param, slot.sync, slot.sync_offset);
    std::int64_t offset = slot.compute_offset;
    for (const ElementRange& range : slot.compute) {
      load_weights(param, range, offset);
      offset += range.num;
    }
  }

  void load_weights(std::size_t param, ElementRange elements, std::int64_t offset) {
    const Bucket& bucket = stage_.buckets()[stage_.layout().slots[param].bucket];
    void* to = bucket.weights.at(offset * kernels::size_of(stage_.type()));
    const std::span<const T> values = read(param, StateKind::param, elements);
    if (stage_.type() == DataType::bf16) {
      std::vector<kernels::BFloat16> rounded;
      rounded.reserve(values.size());
      for (const T value : values) {
        rounded.emplace_back(static_cast<float>(value));
      }
      copy_in(to, std::span<const kernels::BFloat16>(rounded));
    } else {
      copy_in(to, values);
    }
  }

  void load_slice(const Bucket& bucket, const OptimizerSlice& slice) {
    const std::int64_t size = kernels::size_of(stage_.accumulate_type());
    for (const SliceRun& run : runs_of(stage_.layout(), bucket.shape, slice.elements)) {
      const std::int64_t at = (run.sync_offset - slice.elements.first) * size;
      if (slice.master.data() != nullptr) {
        copy_in(slice.master.at(at), read(run.param, StateKind::param, run.elements));
      }
      copy_in(slice.exp_avg.at(at), read(run.param, StateKind::exp_avg, run.elements));
      copy_in(slice.exp_avg_sq.at(at), read(run.param, StateKind::exp_avg_sq, run.elements));
    }
  }

  [[nodiscard]] std::span<const T> read(std::size_t param, StateKind kind, ElementRange elements) {
    values_.resize(static_cast<std::size_t>(elements.num));
    reader_.read(stage_.params()[param].source_name, kind, elements.first, std::span<T>(values_));
    return values_;
  }

  template <typename U>
  void copy_in(void* to, std::span<const U> values) {
    device_.copy_in(to, values.data(), static_cast<std::int64_t>(values.size_bytes()));
  }

  Device& device_;
  CheckpointReader& reader_;
  StageState& stage_;
  std::vector<T> values_;
};

}  // namespace

StateCopy copy_state(Device& device, std::span<StageState* const> stages) {
  StateCopy copy;
  for (StageState* stage : stages) {
    Copier copier(device, *stage, copy);
    for (const Bucket& bucket : stage->buckets()) {
      copier.add(bucket);
    }
  }
  return copy;
}

void load_state(Device& device, CheckpointReader& reader, StageState& stage) {
  if (stage.accumulate_type() == DataType::fp64) {
    Loader<double>(device, reader, stage).run();
  } else {
    Loader<float>(device, reader, stage).run();
  }
}

void check_same_model(const CheckpointReader& reader,
                      const ModelSpec& model,
                      double rotary_base,
                      double norm_epsilon) {
  const CheckpointHeader& header = reader.index().header;
  const auto check = [&](const std::string& what, const Value& theirs, const Value& ours) {
    if (theirs != ours) {
      const auto text = [](const Value& value) {
        std::string line = to_json_text(value, -1);
        line.pop_back();  // the newline
        return line;
      };
      throw ParseError(
          reader.index_path().string(),
          what,
          fmt::format(
              "the checkpoint has {}, the model to be trained {}", text(theirs), text(ours)));
    }
  };
  const Value theirs = to_value(header.model);
  const Value ours = to_value(model);
  for (const auto& [key, value] : *theirs.get_if<Value::Object>()) {
    const bool may_differ = key == "name" || (key == "seq_length" && !model.learned_positions);
    if (!may_differ) {
      check("model." + key, value, *ours.find(key));
    }
  }
  if (!model.learned_positions) {
    check("rotary_base", header.rotary_base, rotary_base);
  }
  check("norm_epsilon", header.norm_epsilon, norm_epsilon);
}

}  // namespace runflat::exec

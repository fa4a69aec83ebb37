#include "sim/step_data.hpp"

#include "core/document.hpp"
#include "sim/csv_reader.hpp"
#include "sim/hardware.hpp"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cmath>
#include <fmt/format.h>
#include <iterator>
#include <map>
#include <optional>
#include <span>
#include <utility>

namespace runflat::sim {
namespace {

/// Fields of a row by column name.
class Row {
 public:
  Row(const CsvReader& csv, const std::map<std::string, std::size_t, std::less<>>& columns)
      : csv_(csv), columns_(columns) {}

  [[nodiscard]] const std::string& text(std::string_view column) const {
    return csv_.fields()[columns_.find(column)->second];
  }
  [[nodiscard]] std::optional<double> number(std::string_view column) const {
    const std::string& field = text(column);
    if (field.empty()) {
      return std::nullopt;
    }
    double value = 0.0;
    const auto [end, error] = std::from_chars(field.data(), field.data() + field.size(), value);
    if (error != std::errc() || end != field.data() + field.size() || !std::isfinite(value)) {
      csv_.reject(fmt::format("column {}: expected a number, found {}", column, field));
    }
    return value;
  }
  /// An integer of at least 1; notes the column when the field is empty or something else.
  [[nodiscard]] std::int64_t count(std::string_view column, std::string& fault) const {
    const std::optional<double> value = number(column);
    if (!value || *value < 1.0 || *value > 1e15 || std::floor(*value) != *value) {
      if (fault.empty()) {
        fault = value ? fmt::format("column {} is not a positive integer", column)
                      : fmt::format("column {} is empty", column);
      }
      return 1;
    }
    return static_cast<std::int64_t>(*value);
  }
  [[nodiscard]] bool flag(std::string_view column) const {
    return number(column).value_or(0.0) != 0.0;
  }

 private:
  const CsvReader& csv_;
  const std::map<std::string, std::size_t, std::less<>>& columns_;
};

bool contains(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

/// The GPU in a text such as `A100-SXM-80GB (Selene DGX A100)`; empty when none is known.
std::string gpu_in(std::string_view text) {
  for (const std::string_view name : {"GB200", "B200", "H200", "H100", "A100", "V100"}) {
    if (contains(text, name)) {
      std::string lower(name);
      std::transform(lower.begin(), lower.end(), lower.begin(), [](unsigned char c) {
        return static_cast<char>(std::tolower(c));
      });
      return lower;
    }
  }
  return {};
}

/// `24.11` from `... tag v24.11.1 ...`; empty when there is no tag.
std::string tag_in(std::string_view source) {
  const std::size_t at = source.find("tag v");
  return at == std::string_view::npos ? std::string() : std::string(source.substr(at + 5, 5));
}

std::string release_of(const Row& row) {
  const std::string& framework = row.text("framework");
  if (contains(framework, "NeMo")) {
    return "nemo-" + tag_in(row.text("source"));
  }
  if (contains(framework, "DeepSpeed")) {
    return "megatron-deepspeed";
  }
  if (contains(framework, "Megatron-LM")) {
    const std::size_t year = framework.find("20");
    return year == std::string::npos ? "megatron" : "megatron-" + framework.substr(year, 4);
  }
  std::string name = framework;
  std::replace(name.begin(), name.end(), ' ', '-');
  return name;
}

ModelSpec read_shape(const Row& row, std::string& fault) {
  ModelSpec model;
  model.name = row.text("model");
  model.num_attention_heads = row.count("heads", fault);
  model.num_query_groups = row.count("kv_heads", fault);
  model.hidden_size = row.count("hidden", fault);
  model.ffn_hidden_size = row.count("ffn_hidden", fault);
  model.num_layers = row.count("layers", fault);
  model.padded_vocab_size = row.count("vocab", fault);
  model.seq_length = row.count("seq_len", fault);
  model.gated_linear_unit = row.flag("gated_mlp");
  model.rms_norm = model.gated_linear_unit;
  model.family = model.gated_linear_unit ? ModelFamily::llama : ModelFamily::gpt;
  model.untie_embeddings_and_output_weights = model.gated_linear_unit;
  model.kv_channels = model.hidden_size / model.num_attention_heads;
  if (fault.empty() && model.num_attention_heads % model.num_query_groups != 0) {
    fault = "column kv_heads does not divide heads";
  }
  if (fault.empty() && row.flag("moe")) {
    fault = "column moe: the table does not say how many experts there are";
  }
  return model;
}

StepQuery read_layout(const Row& row, std::string& fault) {
  StepQuery query;
  query.tp = row.count("tp", fault);
  query.pp = row.count("pp", fault);
  query.cp = row.count("cp", fault);
  query.ep = row.count("ep", fault);
  query.dp = row.count("dp", fault);
  query.vpp = row.number("vpp_chunks") ? row.count("vpp_chunks", fault) : 1;
  query.micro_batch_size = row.count("mbs", fault);
  query.num_gpus = row.count("gpus", fault);
  const std::int64_t sequences = row.count("gbs", fault);
  const std::int64_t per_round = query.micro_batch_size * query.dp;
  query.num_microbatches = sequences / per_round;
  if (fault.empty() && sequences % per_round != 0) {
    fault = fmt::format("gbs {} is not a multiple of mbs x dp = {}", sequences, per_round);
  }
  return query;
}

void read_settings(const Row& row, StepQuery& query, std::string& fault) {
  query.sequence_parallel = row.flag("seq_parallel");
  query.zero_stage = row.flag("dist_opt") ? 1 : 0;
  query.overlap_data = !row.text("overlap").starts_with("none");
  const std::string& recompute = row.text("recompute");
  if (recompute == "none" || recompute == "selective" || recompute == "full") {
    query.recompute = recompute == "full"        ? Recompute::full
                      : recompute == "selective" ? Recompute::selective
                                                 : Recompute::none;
  } else if (fault.empty()) {
    fault = fmt::format("column recompute: {} is not none, selective or full", recompute);
  }
  const std::string& precision = row.text("precision");
  if (precision == "FP16" || precision == "BF16" || precision == "FP8") {
    query.precision = precision == "FP8"    ? Precision::fp8
                      : precision == "FP16" ? Precision::fp16
                                            : Precision::bf16;
  } else if (fault.empty()) {
    fault = fmt::format("column precision: {} is not FP16, BF16 or FP8", precision);
  }
}

MeasuredStep read_step(const Row& row, std::string& fault) {
  MeasuredStep step;
  step.id = row.text("id");
  step.model_name = row.text("model");
  step.framework = row.text("framework");
  step.gpu = gpu_in(row.text("hardware"));
  step.release = release_of(row);
  step.model = read_shape(row, fault);
  step.query = read_layout(row, fault);
  read_settings(row, step.query, fault);
  const std::optional<double> seconds = row.number("step_time_s");
  step.seconds = seconds.value_or(0.0);
  if (fault.empty() && step.seconds <= 0.0) {
    fault = "column step_time_s is empty or not positive";
  }
  if (fault.empty() && step.gpu.empty()) {
    fault = fmt::format("column hardware: unknown GPU in {}", row.text("hardware"));
  }
  return step;
}

std::map<std::string, std::size_t, std::less<>> read_header(CsvReader& csv) {
  std::map<std::string, std::size_t, std::less<>> columns;
  if (!csv.next()) {
    csv.reject("expected a header row");
  }
  for (std::size_t i = 0; i < csv.fields().size(); ++i) {
    columns.emplace(csv.fields()[i], i);
  }
  for (const char* name :
       {"id",         "model",  "hardware",    "precision",    "gpus",      "heads",
        "kv_heads",   "hidden", "layers",      "ffn_hidden",   "gated_mlp", "vocab",
        "seq_len",    "tp",     "pp",          "cp",           "ep",        "dp",
        "vpp_chunks", "mbs",    "gbs",         "seq_parallel", "recompute", "dist_opt",
        "overlap",    "moe",    "step_time_s", "framework",    "source"}) {
    if (!columns.contains(name)) {
      csv.reject(fmt::format("the header lacks the column {}", name));
    }
  }
  return columns;
}

}  // namespace

StepTable read_step_table(std::string_view text, std::string_view file) {
  CsvReader csv(text, file);
  const auto columns = read_header(csv);
  StepTable table;
  while (csv.next()) {
    if (csv.fields().size() != columns.size()) {
      csv.reject(fmt::format(
          "expected {} fields as in the header, found {}", columns.size(), csv.fields().size()));
    }
    std::string fault;
    MeasuredStep step = read_step(Row(csv, columns), fault);
    step.table = std::filesystem::path(file).stem().string();
    if (fault.empty()) {
      table.steps.push_back(std::move(step));
    } else {
      table.skipped.push_back({step.id, fault});
    }
  }
  return table;
}

StepTable read_step_table(const std::filesystem::path& path) {
  return read_step_table(read_text_file(path), path.string());
}

StepTable read_step_tables(const std::vector<std::filesystem::path>& paths) {
  StepTable all;
  for (const std::filesystem::path& path : paths) {
    StepTable table = read_step_table(path);
    std::move(table.steps.begin(), table.steps.end(), std::back_inserter(all.steps));
    std::move(table.skipped.begin(), table.skipped.end(), std::back_inserter(all.skipped));
  }
  return all;
}

}  // namespace runflat::sim

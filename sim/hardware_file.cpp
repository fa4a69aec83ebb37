#include "core/error.hpp"
#include "sim/hardware.hpp"

#include <fmt/format.h>
#include <limits>
#include <optional>
#include <string>
#include <vector>

namespace runflat::sim {
namespace {

constexpr double kMicro = 1e-6;
constexpr double kGiga = 1e9;
constexpr double kTera = 1e12;
constexpr double kHuge = 1e9;
constexpr double kGibi = 1024.0 * 1024.0 * 1024.0;

/// Names every number of the file once, for reading as well as for writing: `file` has
/// `table(name)` and `number(key, field, unit, least, most)`.
template <typename File>
void describe_compute(File& file, ComputeParameters& compute) {
  GpuParameters& gpu = compute.gpu;
  file.table("gpu");
  file.number("peak_16bit_tflops", gpu.peak_16bit.value, kTera, 1.0, kHuge);
  file.number("peak_8bit_tflops", gpu.peak_8bit.value, kTera, 0.0, kHuge);
  file.number("hbm_gb_per_s", gpu.hbm_bandwidth.value, kGiga, 1.0, kHuge);
  file.number("hbm_gib", gpu.hbm_capacity.value, kGibi, 1.0, kHuge);
  file.number("num_sms", gpu.num_sms, 1.0, 1.0, kHuge);
  file.number("tdp_watts", gpu.tdp.value, 1.0, 1.0, kHuge);

  GemmParameters& gemm = compute.gemm;
  file.table("gemm");
  file.number("efficiency", gemm.efficiency, 1.0, 0.01, 1.0);
  file.number("efficiency_8bit", gemm.efficiency_8bit, 1.0, 0.01, 1.0);
  file.number("half_depth", gemm.half_depth, 1.0, 0.0, kHuge);
  file.number("tail_waves", gemm.tail_waves, 1.0, 0.0, 100.0);

  file.table("streaming");
  file.number("efficiency", compute.streaming.efficiency, 1.0, 0.01, 1.0);
  file.number("launch_us", compute.streaming.launch, kMicro, 0.0, kHuge);

  AttentionParameters& attention = compute.attention;
  file.table("attention");
  file.kernel("kernel", attention.kernel);
  file.number("forward_efficiency", attention.forward_efficiency, 1.0, 0.01, 1.0);
  file.number("forward_half_length", attention.forward_half_length, 1.0, 0.0, kHuge);
  file.number("forward_half_size", attention.forward_half_size, 1.0, 0.0, kHuge);
  file.number("backward_efficiency", attention.backward_efficiency, 1.0, 0.01, 1.0);
  file.number("backward_half_length", attention.backward_half_length, 1.0, 0.0, kHuge);
  file.number("backward_half_size", attention.backward_half_size, 1.0, 0.0, kHuge);
  file.number("gemm_efficiency", attention.gemm_efficiency, 1.0, 0.01, 1.0);
  file.number("score_efficiency", attention.score_efficiency, 1.0, 0.01, 1.5);
}

template <typename File>
void describe_fabric(File& file, Fabric& fabric) {
  file.table("domain");
  file.integer("size", fabric.domain_size);
  file.number("latency_us", fabric.domain.latency, kMicro, 0.0, kHuge);
  file.number("per_rank_us", fabric.domain.per_rank, kMicro, 0.0, kHuge);
  file.number("ramp_us", fabric.domain.ramp, kMicro, 0.0, kHuge);
  file.number("gb_per_s", fabric.domain.bandwidth.value, kGiga, 0.1, kHuge);
  for (std::size_t n = 2; n < fabric.domain.mesh_bandwidth.size(); ++n) {
    file.optional_number(
        fmt::format("mesh_gb_per_s_{}_ranks", n), fabric.domain.mesh_bandwidth[n], kGiga);
  }
  file.number("half_latency_us", fabric.domain.half_latency, kMicro, 0.0, kHuge);
  file.number("half_gb_per_s", fabric.domain.half_bandwidth.value, kGiga, 0.0, kHuge);

  file.table("network");
  file.number("nic_gb_per_s", fabric.network.nic_bandwidth.value, kGiga, 0.01, kHuge);
  file.number("efficiency", fabric.network.efficiency, 1.0, 0.01, 1.0);
  file.number("whole_efficiency", fabric.network.whole_efficiency, 1.0, 0.01, 1.0);
  file.number("partial_efficiency", fabric.network.partial_efficiency, 1.0, 0.01, 1.0);
  file.number("latency_us", fabric.network.latency, kMicro, 0.0, kHuge);
}

template <typename File>
void describe_software(File& file, HardwareParameters& hardware) {
  file.table("host");
  file.number("forward_layer_us", hardware.host.forward_layer, kMicro, 0.0, kHuge);
  file.number("backward_layer_us", hardware.host.backward_layer, kMicro, 0.0, kHuge);
  file.number("microbatch_us", hardware.host.microbatch, kMicro, 0.0, kHuge);

  OverlapParameters& overlap = hardware.overlap;
  file.table("exposed");
  file.number("tensor_forward", overlap.tensor_forward, 1.0, 0.0, 1.0);
  file.number("tensor_backward", overlap.tensor_backward, 1.0, 0.0, 1.0);
  file.number("sequence_gather", overlap.sequence_gather, 1.0, 0.0, 1.0);
  file.number("context", overlap.context, 1.0, 0.0, 1.0);
  file.number("expert", overlap.expert, 1.0, 0.0, 1.0);
  file.number("data", overlap.data, 1.0, 0.0, 1.0);
  file.number("gather", overlap.gather, 1.0, 0.0, 1.0);
  file.number("pipeline", overlap.pipeline, 1.0, 0.0, 1.0);
  file.number("beside", overlap.beside, 1.0, 0.0, 1.0);

  file.table("recompute");
  file.number("attention", hardware.recompute.attention, 1.0, 0.0, 1.0);
  file.number("last_product", hardware.recompute.last_product, 1.0, 0.0, 1.0);

  file.table("bytes");
  file.number("gradient", hardware.optimizer.gradient_bytes, 1.0, 1.0, 8.0);
  file.number("optimizer_update", hardware.optimizer.update_bytes, 1.0, 0.0, 200.0);
  file.number("embedding", hardware.embedding_bytes, 1.0, 0.0, 200.0);
  file.number("cross_entropy", hardware.cross_entropy_bytes, 1.0, 0.0, 200.0);
  file.number("cast_8bit", hardware.cast_bytes, 1.0, 0.0, 20.0);
  file.number("dropout_mask", hardware.dropout_bytes, 1.0, 0.0, 4.0);
  file.number("bias_add", hardware.bias_add_bytes, 1.0, 0.0, 20.0);
  file.number("bias_gradient", hardware.bias_gradient_bytes, 1.0, 0.0, 20.0);
  file.number("sequence_copy", hardware.sequence_copy_bytes, 1.0, 0.0, 200.0);

  file.table("step");
  file.number("constant_us", hardware.optimizer.constant, kMicro, 0.0, kHuge);
  file.number("straggler_spread", hardware.straggler_spread, 1.0, 0.0, 1.0);
}

class FileReader {
 public:
  explicit FileReader(const Reader& in) : root_(in) {}

  ObjectReader& root() { return root_; }

  void table(std::string_view name) {
    if (table_) {
      table_->finish();
    }
    table_.emplace(root_.at(name));
  }
  void number(std::string_view key, double& field, double unit, double least, double most) {
    field = table_->at(key).number(least, most) * unit;
  }
  void number(std::string_view key, Seconds& field, double unit, double least, double most) {
    field = Seconds(table_->at(key).number(least, most) * unit);
  }
  void optional_number(std::string_view key, double& field, double unit) {
    if (const std::optional<Reader> member = table_->find(key)) {
      field = member->positive_number() * unit;
    }
  }
  void integer(std::string_view key, std::int64_t& field) {
    field = table_->at(key).integer(1, 1 << 20);
  }
  void kernel(std::string_view key, AttentionKernel& field) {
    field = static_cast<AttentionKernel>(table_->at(key).choice({"unfused", "flash"}));
  }
  void finish() {
    table_->finish();
    root_.finish();
  }

 private:
  ObjectReader root_;
  std::optional<ObjectReader> table_;
};

class FileWriter {
 public:
  explicit FileWriter(std::string& text) : text_(text) {}

  void table(std::string_view name) { text_ += fmt::format("\n[{}]\n", name); }
  void number(std::string_view key, double field, double unit, double, double) {
    // Six figures: more than any of these is known to, and no rounding dust of the unit.
    text_ += fmt::format("{} = {:.6g}\n", key, field / unit);
  }
  void number(std::string_view key, Seconds field, double unit, double least, double most) {
    number(key, field.count(), unit, least, most);
  }
  void optional_number(std::string_view key, double field, double unit) {
    if (field > 0.0) {
      number(key, field, unit, 0.0, kHuge);
    }
  }
  void integer(std::string_view key, std::int64_t field) {
    text_ += fmt::format("{} = {}\n", key, field);
  }
  void kernel(std::string_view key, AttentionKernel field) {
    text_ +=
        fmt::format("{} = \"{}\"\n", key, field == AttentionKernel::unfused ? "unfused" : "flash");
  }

 private:
  std::string& text_;
};

/// Stops at one number by its dotted key, to read it and, given a value, to change it.
class NumberFinder {
 public:
  explicit NumberFinder(std::string_view key, std::optional<double> value = std::nullopt)
      : wanted_(key), value_(value) {}

  void table(std::string_view name) { table_ = name; }
  void number(std::string_view key, double& field, double unit, double least, double most) {
    if (!found_ && is_wanted(key)) {
      field = value_ ? *value_ * unit : field;
      found_ = HardwareNumber{field / unit, least, most};
    }
  }
  void number(std::string_view key, Seconds& field, double unit, double least, double most) {
    double seconds = field.count();
    number(key, seconds, unit, least, most);
    field = Seconds(seconds);
  }
  void optional_number(std::string_view key, double& field, double unit) {
    number(key, field, unit, 0.0, kHuge);
  }
  void integer(std::string_view, std::int64_t&) {}
  void kernel(std::string_view, AttentionKernel&) {}

  [[nodiscard]] const std::optional<HardwareNumber>& found() const { return found_; }

 private:
  [[nodiscard]] bool is_wanted(std::string_view key) const {
    return wanted_.size() == table_.size() + 1 + key.size() && wanted_.starts_with(table_) &&
           wanted_[table_.size()] == '.' && wanted_.ends_with(key);
  }

  std::string_view wanted_;
  std::optional<double> value_;
  std::string_view table_;
  std::optional<HardwareNumber> found_;
};

template <typename File>
void describe(File& file, HardwareParameters& hardware) {
  describe_compute(file, hardware.compute);
  describe_fabric(file, hardware.fabric);
  describe_software(file, hardware);
}

}  // namespace

HardwareParameters read_hardware(const Reader& in) {
  HardwareParameters hardware;
  FileReader file(in);
  hardware.gpu = file.root().at("gpu_name").text();
  hardware.release = file.root().at("release").text();
  (void)file.root().find("inherits");
  (void)file.root().find("default_release");
  (void)file.root().find("fitted");
  describe(file, hardware);
  file.finish();
  return hardware;
}

std::optional<HardwareNumber> number_of(const HardwareParameters& hardware, std::string_view key) {
  HardwareParameters copy = hardware;
  NumberFinder finder(key);
  describe(finder, copy);
  return finder.found();
}

void set_number(HardwareParameters& hardware, std::string_view key, double value) {
  NumberFinder finder(key, value);
  describe(finder, hardware);
  if (!finder.found()) {
    throw InvalidArgument(fmt::format("parameter files have no number {}", key));
  }
}

std::string to_toml(const HardwareParameters& hardware) {
  std::string text =
      fmt::format("gpu_name = \"{}\"\nrelease = \"{}\"\n", hardware.gpu, hardware.release);
  FileWriter writer(text);
  HardwareParameters copy = hardware;
  describe(writer, copy);
  return text;
}

}  // namespace runflat::sim

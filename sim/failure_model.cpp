#include "sim/failure_model.hpp"

#include "core/document.hpp"
#include "core/error.hpp"
#include "core/reader.hpp"
#include "core/value.hpp"
#include "sim/cluster_graph.hpp"
#include "sim/span_reader.hpp"

#include <algorithm>
#include <array>
#include <filesystem>
#include <fmt/format.h>
#include <limits>
#include <optional>
#include <string_view>

namespace runflat::sim {
namespace {

constexpr double kHighestRate = 1000.0;  // per node and day; more is a slip of the unit
constexpr double kLargestScale = 1e6;
constexpr double kLeastNodeShape = 0.01;
constexpr double kMostRecurrence = 0.95;

double read_rate(ObjectReader& in, double components_per_node, const ClusterShape& shape) {
  const std::optional<Reader> per_nodes = in.find("rate_per_1000_node_days");
  const std::optional<Reader> per_gpu = in.find("rate_per_gpu_day");
  const std::optional<Seconds> mtbf = find_span(in, "mtbf");
  if (int{per_nodes.has_value()} + int{per_gpu.has_value()} + int{mtbf.has_value()} != 1) {
    in.place().reject(
        "expected exactly one of rate_per_1000_node_days, rate_per_gpu_day and mtbf_hours");
  }
  if (per_nodes) {
    return per_nodes->number(0.0, kHighestRate * 1000.0) / 1000.0;
  }
  if (per_gpu) {
    return per_gpu->number(0.0, kHighestRate) * shape.gpus_per_node;
  }
  const double rate = components_per_node / Days{*mtbf}.count();
  if (!(rate <= kHighestRate)) {
    in.place().reject("expected a longer mtbf: a node would fail more than 1000 times a day");
  }
  return rate;
}

/// What is off unless the table has it.
void read_processes(ObjectReader& in, FailureClass& result) {
  result.batches = read_or(in, "batches", BatchLaw{}, read_batches);
  result.refault = read_or(in, "refault", Recurrence{}, read_recurrence);
  result.infant_mortality = read_or(in, "infant_mortality", Recurrence{}, read_recurrence);
  result.rate_over_time =
      read_or(in, "rate_over_time", std::vector<RateStep>{}, read_rate_over_time);
  result.silence = read_or(in, "silence", Distribution{}, read_distribution);
  if (const std::optional<Reader> slow = in.find("slow")) {
    if (result.slow || result.together > 1) {
      slow->reject("expected no slow: what the component slows follows from the hardware");
    }
    result.slow = read_slowness(*slow);
  }
  if (result.recurrence() > kMostRecurrence) {
    in.place().reject("expected refault and infant_mortality after at most 95 % of the repairs");
  }
  const bool recurs = result.recurrence() > 0.0;
  if (result.slow &&
      (recurs || result.silence != Distribution{} || result.blast_radius == BlastRadius::job)) {
    in.place().reject("expected a slow component without refaults or silence, not a job");
  }
}

/// What the table of failures says for all its classes.
struct ClassDefaults {
  std::optional<Distribution> repair;
  std::optional<ComponentGraph> hardware;
};

/// Takes from the graph what the component takes down or slows; returns how many a node has.
double read_component(ObjectReader& in,
                      const Reader& place,
                      const ClusterShape& shape,
                      const std::optional<ComponentGraph>& hardware,
                      FailureClass& result) {
  if (!hardware) {
    place.reject("expected failures.hardware to say what components the cluster has");
  }
  std::vector<std::string_view> names;
  for (std::size_t i = 0; i < kNumComponentKinds; ++i) {
    names.push_back(to_string(static_cast<ComponentKind>(i)));
  }
  const auto kind = static_cast<ComponentKind>(place.choice(names));
  const std::optional<CompiledComponent> compiled = compiled_component(*hardware, shape, kind);
  if (!compiled) {
    place.reject(
        fmt::format("expected a component that this hardware has, found {}", to_string(kind)));
  }
  result.blast_radius = compiled->hit.blast_radius;
  result.together = compiled->hit.together;
  result.slow = compiled->slow;
  if (const std::optional<Reader> swap = in.find("swap")) {
    if (!compiled->drained) {
      swap->reject("expected no swap: the repair takes down no more than the fault");
    }
    result.drain = Drain{*compiled->drained, read_distribution(*swap)};
  }
  return compiled->per_node;
}

FailureClass read_failure_class(const Reader& place,
                                const ClusterShape& shape,
                                const ClassDefaults& defaults) {
  const std::optional<Distribution>& common_repair = defaults.repair;
  ObjectReader in = place.object();
  FailureClass result;
  result.name = in.at("name").text();
  double components_per_node = 0.0;
  if (const std::optional<Reader> component = in.find("component")) {
    components_per_node = read_component(in, *component, shape, defaults.hardware, result);
  } else {
    result.blast_radius =
        static_cast<BlastRadius>(in.at("blast_radius").choice({"gpu", "node", "domain", "job"}));
    components_per_node =
        static_cast<double>(shape.num_components(result.blast_radius)) / shape.num_nodes;
  }
  result.rate_per_node_day = read_rate(in, components_per_node, shape);
  result.arrival_shape = read_or(
      in, "arrival_shape", 1.0, [](const Reader& value) { return value.number(0.1, 100.0); });
  if (in.find("repair") || (result.blast_radius != BlastRadius::job && !common_repair)) {
    result.repair = read_distribution(in.at("repair"));
  } else if (result.blast_radius != BlastRadius::job) {
    result.repair = *common_repair;
  }
  result.detection = read_or(in, "detection", Detection::crash, [](const Reader& value) {
    constexpr std::array kKinds = {Detection::crash, Detection::hang, Detection::timeout};
    return kKinds[value.choice({"crash", "hang", "timeout"})];
  });
  read_processes(in, result);
  in.finish();
  return result;
}

void append_classes(FailureModel& model,
                    const Reader& list,
                    const ClusterShape& shape,
                    const ClassDefaults& defaults) {
  for (const Reader& item : list.items()) {
    FailureClass failure_class = read_failure_class(item, shape, defaults);
    const auto same_name = [&](const FailureClass& other) {
      return other.name == failure_class.name;
    };
    if (std::any_of(model.classes.begin(), model.classes.end(), same_name)) {
      item.reject(fmt::format("expected a name of its own, {} is taken", failure_class.name));
    }
    model.classes.push_back(std::move(failure_class));
  }
}

FailureModel read_model(const Reader& place, const ClusterShape& shape, bool may_include);

/// The table `failures` of another file, named from the folder of this one.
FailureModel read_included(const Reader& place, const ClusterShape& shape) {
  const std::filesystem::path path =
      std::filesystem::path(place.file()).parent_path() / place.text();
  const Value document = read_document(path);
  const Reader root{document, path.string()};
  const Value* const failures = document.find("failures");
  if (failures == nullptr) {
    root.reject("expected a table failures");
  }
  return read_model(Reader{*failures, path.string(), "failures"}, shape, false);
}

FailureModel read_model(const Reader& place, const ClusterShape& shape, bool may_include) {
  ObjectReader in = place.object();
  FailureModel model;
  if (const std::optional<Reader> include = in.find("include")) {
    if (!may_include) {
      include->reject("expected no include in a file that is included itself");
    }
    model = read_included(*include, shape);
  }
  model.scale = read_or(in, "scale", model.scale, [](const Reader& value) {
    return value.number(0.0, kLargestScale);
  });
  model.warm_up = find_span(in, "warm_up").value_or(model.warm_up);
  if (const std::optional<Reader> node_shape = in.find("node_rate_shape")) {
    model.node_rate_shape = node_shape->number(kLeastNodeShape, 1e6);
  }
  ClassDefaults defaults;
  if (const std::optional<Reader> repair = in.find("repair")) {
    defaults.repair = read_distribution(*repair);
  }
  if (const std::optional<Reader> hardware = in.find("hardware")) {
    defaults.hardware = cluster_graph(
        static_cast<HardwareTemplate>(hardware->choice({"generic", "dgx_h100", "gb200_nvl72"})),
        shape);
  }
  if (const std::optional<Reader> list = in.find("class")) {
    append_classes(model, *list, shape, defaults);
  }
  if (const std::optional<Reader> list = in.find("maintenance")) {
    for (const Reader& item : list->items()) {
      model.maintenance.push_back(read_maintenance(item, shape));
    }
  }
  in.finish();
  return model;
}

}  // namespace

double FailureModel::rate_per_node_day() const {
  double sum = 0.0;
  for (const FailureClass& failure_class : classes) {
    sum += failure_class.slow ? 0.0 : failure_class.rate_per_node_day;
  }
  return sum * scale;
}

std::vector<std::string> FailureModel::class_names() const {
  std::vector<std::string> names;
  for (const FailureClass& failure_class : classes) {
    names.push_back(failure_class.name);
  }
  for (const Maintenance& work : maintenance) {
    names.push_back(work.name);
  }
  return names;
}

Hours mean_time_between_faults(double rate_per_node_day, double num_nodes) {
  const double per_day = rate_per_node_day * num_nodes;
  return per_day > 0.0 ? Hours{24.0 / per_day} : Hours{std::numeric_limits<double>::infinity()};
}

FailureModel read_failure_model(const Reader& place, const ClusterShape& shape) {
  require_valid(shape);
  return read_model(place, shape, true);
}

}  // namespace runflat::sim

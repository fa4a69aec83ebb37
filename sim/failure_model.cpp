#include "sim/failure_model.hpp"

#include "core/document.hpp"
#include "core/error.hpp"
#include "core/reader.hpp"
#include "core/value.hpp"
#include "sim/span_reader.hpp"

#include <algorithm>
#include <array>
#include <filesystem>
#include <fmt/format.h>
#include <limits>
#include <optional>

namespace runflat::sim {
namespace {

constexpr double kHighestRate = 1000.0;  // per node and day; more is a slip of the unit
constexpr double kLargestScale = 1e6;
constexpr double kLeastNodeShape = 0.01;
constexpr double kMostRecurrence = 0.95;

double read_rate(ObjectReader& in, BlastRadius radius, const ClusterShape& shape) {
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
  const double components_per_node =
      static_cast<double>(shape.num_components(radius)) / shape.num_nodes;
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

FailureClass read_failure_class(const Reader& place,
                                const ClusterShape& shape,
                                const std::optional<Distribution>& common_repair) {
  ObjectReader in = place.object();
  FailureClass result;
  result.name = in.at("name").text();
  result.blast_radius =
      static_cast<BlastRadius>(in.at("blast_radius").choice({"gpu", "node", "domain", "job"}));
  result.rate_per_node_day = read_rate(in, result.blast_radius, shape);
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
                    const std::optional<Distribution>& common_repair) {
  for (const Reader& item : list.items()) {
    FailureClass failure_class = read_failure_class(item, shape, common_repair);
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
  std::optional<Distribution> common_repair;
  if (const std::optional<Reader> repair = in.find("repair")) {
    common_repair = read_distribution(*repair);
  }
  if (const std::optional<Reader> list = in.find("class")) {
    append_classes(model, *list, shape, common_repair);
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

#include "sim/hardware_set.hpp"

#include "core/error.hpp"

#include <algorithm>
#include <optional>
#include <set>

namespace runflat::sim {
namespace {

std::optional<HardwareName> nearest_release(const std::vector<HardwareName>& known,
                                            const HardwareName& wanted) {
  std::optional<HardwareName> before;
  std::optional<HardwareName> after;
  const std::string framework = wanted.release.substr(0, wanted.release.find('-'));
  for (const HardwareName& name : known) {  // ascending
    if (name == wanted) {
      return name;
    }
    if (name.gpu != wanted.gpu || framework != "nemo" || !name.release.starts_with("nemo-")) {
      continue;
    }
    if (name < wanted) {
      before = name;
    } else if (!after) {
      after = name;
    }
  }
  return before ? before : after;
}

bool has(const HardwareParameters& hardware, const FittedParameter& number) {
  return std::find(hardware.fitted.begin(), hardware.fitted.end(), number) != hardware.fitted.end();
}

}  // namespace

const HardwareParameters* HardwareSet::find(const HardwareName& wanted) {
  const std::optional<HardwareName> name = nearest_release(known_, wanted);
  if (!name) {
    return nullptr;
  }
  const auto found = loaded_.find(*name);
  return found != loaded_.end()
             ? &found->second
             : &loaded_.emplace(*name, load_hardware(name->gpu, name->release)).first->second;
}

std::string HardwareSet::known() const {
  std::string list;
  for (const HardwareName& name : known_) {
    list += (list.empty() ? "" : ", ") + name.str();
  }
  return list;
}

std::vector<FittedParameter> HardwareSet::fitted() const {
  std::set<FittedParameter> numbers;
  for (const auto& [name, hardware] : loaded_) {
    numbers.insert(hardware.fitted.begin(), hardware.fitted.end());
  }
  return {numbers.begin(), numbers.end()};
}

HardwareNumber HardwareSet::number(const FittedParameter& which) const {
  for (const auto& [name, hardware] : loaded_) {
    if (has(hardware, which)) {
      return number_of(hardware, which.key).value();
    }
  }
  throw InvalidArgument("no parameter file of this set has the fitted number " + which.key);
}

void HardwareSet::set(const FittedParameter& which, double value) {
  for (auto& [name, hardware] : loaded_) {
    if (has(hardware, which)) {
      set_number(hardware, which.key, value);
    }
  }
}

}  // namespace runflat::sim

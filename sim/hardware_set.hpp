#pragma once

#include "sim/hardware.hpp"

#include <map>
#include <string>
#include <vector>

namespace runflat::sim {

/// Shipped parameter files, each read once, with their fitted numbers open to change: those of a
/// file that others inherit change in all of them.
class HardwareSet {
 public:
  /// Parameters of a GPU and release. A NeMo release that has no file takes the last one before it,
  /// or else the first one after it. nullptr where there is none; else valid as long as the set.
  [[nodiscard]] const HardwareParameters* find(const HardwareName& wanted);

  /// All (GPU, release) pairs with a file, for messages: `a100_megatron-2021, ...`.
  [[nodiscard]] std::string known() const;

  /// Fitted numbers of the files found so far, sorted.
  [[nodiscard]] std::vector<FittedParameter> fitted() const;

  /// One of `fitted()`.
  [[nodiscard]] HardwareNumber number(const FittedParameter& which) const;
  void set(const FittedParameter& which, double value);

 private:
  std::vector<HardwareName> known_ = known_hardware();
  std::map<HardwareName, HardwareParameters> loaded_;
};

}  // namespace runflat::sim

#include "exec/training/moment_name.hpp"

namespace runflat::exec {

const char* name_at(StepMoment moment, std::span<const ScheduleOp> ops, std::int64_t index) {
  switch (moment) {
    case StepMoment::op:
      return name_of(ops[static_cast<std::size_t>(index)].kind).data();  // a literal
    case StepMoment::reduction:
      return "reduction";
    case StepMoment::decision:
      return "decision";
    case StepMoment::update:
      return "update";
    case StepMoment::distribute:
      return "distribute";
    case StepMoment::end:
      break;
  }
  return "";
}

}  // namespace runflat::exec

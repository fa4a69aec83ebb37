#include "exec/recovery/agreement.hpp"

#include <algorithm>
#include <array>
#include <iterator>

namespace runflat::exec {
namespace {

constexpr std::array<std::string_view, 5> kRungNames = {
    "in_place", "checkpoint", "wait", "finish", "stop"};

Value member_value(const Member& member) {
  return Value::Object{{"process", member.process}, {"life", member.life}};
}

Member read_member(const Reader& in) {
  ObjectReader members = in.object();
  const Member member{.process = members.at("process").integer(0),
                      .life = members.at("life").integer(0)};
  members.finish();
  return member;
}

Value progress_value(const Progress& progress) {
  return Value::Object{{"steps", progress.steps}, {"consumed_samples", progress.consumed_samples}};
}

Progress read_progress(const Reader& in) {
  ObjectReader members = in.object();
  const Progress progress{.steps = members.at("steps").integer(0),
                          .consumed_samples = members.at("consumed_samples").integer(0)};
  members.finish();
  return progress;
}

Value decision_value(const StepDecision& decision) {
  return Value::Object{{"step", decision.step},
                       {"squared_sum", decision.squared_sum},
                       {"tokens", decision.tokens},
                       {"loss", decision.loss}};
}

StepDecision read_decision(const Reader& in) {
  ObjectReader members = in.object();
  const StepDecision decision{.step = members.at("step").integer(0),
                              .squared_sum = members.at("squared_sum").number(),
                              .tokens = members.at("tokens").number(),
                              .loss = members.at("loss").number()};
  members.finish();
  return decision;
}

}  // namespace

std::vector<std::int64_t> processes_of(const std::vector<Member>& members) {
  std::vector<std::int64_t> processes;
  for (const Member& member : members) {
    processes.push_back(member.process);
  }
  return processes;
}

std::vector<std::int64_t> processes_of(const ParallelLayout& layout) {
  std::vector<std::int64_t> processes;
  for (std::int64_t rank = 0; rank < layout.num_ranks(); ++rank) {
    processes.push_back(layout.gpu_of(Rank(rank)).value());
  }
  return processes;
}

std::vector<std::int64_t> processes_of(const Plan& plan) {
  std::vector<std::int64_t> processes;
  for (const GpuId gpu : gpus_of(plan)) {
    processes.push_back(gpu.value());
  }
  return processes;
}

std::string_view name_of(Rung rung) {
  return kRungNames[static_cast<std::size_t>(rung)];
}

std::vector<Member> trainers_of(const Agreement& agreement) {
  std::vector<Member> trainers;
  std::copy_if(agreement.members.begin(),
               agreement.members.end(),
               std::back_inserter(trainers),
               [&](const Member& member) {
                 return agreement.plan && agreement.plan->layout.rank_of(GpuId(member.process));
               });
  return trainers;
}

std::vector<Member> participants_of(const Agreement& agreement) {
  if (!agreement.plan) {
    return agreement.members;
  }
  const std::vector<std::int64_t>& holders = agreement.holders;
  std::vector<Member> participants;
  std::copy_if(agreement.members.begin(),
               agreement.members.end(),
               std::back_inserter(participants),
               [&](const Member& member) {
                 return agreement.plan->layout.rank_of(GpuId(member.process)) ||
                        std::find(holders.begin(), holders.end(), member.process) != holders.end();
               });
  return participants;
}

bool Agreement::has_member(const Member& member) const {
  return std::binary_search(members.begin(), members.end(), member);
}

Value to_value(const Standing& standing) {
  return Value::Object{{"member", member_value(standing.member)},
                       {"generation", standing.generation},
                       {"next_generation", standing.next_generation},
                       {"progress", progress_value(standing.progress)},
                       {"next_progress", progress_value(standing.next_progress)},
                       {"decision", decision_value(standing.decision)},
                       {"seconds", standing.seconds},
                       {"waited", standing.waited},
                       {"problem", standing.problem},
                       {"is_over", standing.is_over}};
}

Standing read_standing(const Reader& in) {
  ObjectReader members = in.object();
  Standing standing{.member = read_member(members.at("member")),
                    .generation = members.at("generation").integer(-1),
                    .next_generation = members.at("next_generation").integer(-1),
                    .progress = read_progress(members.at("progress")),
                    .next_progress = read_progress(members.at("next_progress")),
                    .decision = read_decision(members.at("decision")),
                    .seconds = members.at("seconds").number(),
                    .waited = members.at("waited").number(),
                    .problem = members.at("problem").text(),
                    .is_over = members.at("is_over").boolean()};
  members.finish();
  return standing;
}

Value to_value(const Agreement& agreement) {
  Value::Array members;
  for (const Member& member : agreement.members) {
    members.push_back(member_value(member));
  }
  Value out = Value::Object{{"generation", agreement.generation},
                            {"members", std::move(members)},
                            {"rung", std::string(name_of(agreement.rung))},
                            {"reason", agreement.reason},
                            {"attempt", agreement.attempt},
                            {"base_generation", agreement.base_generation},
                            {"holders", Value::array_of(agreement.holders)},
                            {"progress", progress_value(agreement.progress)},
                            {"decision", decision_value(agreement.decision)},
                            {"waited", agreement.waited}};
  if (agreement.plan) {
    out.set("plan", to_value(*agreement.plan));
  }
  return out;
}

Agreement read_agreement(const Reader& in) {
  ObjectReader fields = in.object();
  Agreement agreement;
  agreement.generation = fields.at("generation").integer(0);
  for (const Reader& item : fields.at("members").items()) {
    agreement.members.push_back(read_member(item));
  }
  agreement.rung =
      static_cast<Rung>(fields.at("rung").choice({kRungNames.begin(), kRungNames.end()}));
  agreement.reason = fields.at("reason").text();
  agreement.attempt = fields.at("attempt").integer(1);
  agreement.base_generation = fields.at("base_generation").integer(-1);
  agreement.holders = fields.at("holders").integers(0, std::numeric_limits<std::int64_t>::max());
  agreement.progress = read_progress(fields.at("progress"));
  agreement.decision = read_decision(fields.at("decision"));
  agreement.waited = fields.at("waited").number();
  if (const auto plan = fields.find("plan")) {
    agreement.plan = read_plan(*plan);
  }
  fields.finish();
  return agreement;
}

}  // namespace runflat::exec

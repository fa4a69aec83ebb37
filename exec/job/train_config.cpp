#include "exec/job/train_config.hpp"

#include "core/document.hpp"
#include "core/override.hpp"
#include "core/replan.hpp"
#include "exec/job/train_plan.hpp"

#include <array>
#include <fmt/format.h>
#include <limits>

namespace runflat::exec {
namespace {

constexpr std::int64_t kMostSteps = std::int64_t{1} << 31;

double fraction(const Reader& in) {
  return in.number(0.0, 1.0);
}

double not_negative(const Reader& in) {
  return in.number(0.0);
}

std::int64_t steps(const Reader& in) {
  return in.integer(0, kMostSteps);
}

DataType type_of(const Plan& plan, const Reader& in) {
  switch (plan.training.precision) {
    case Precision::fp32:
      return DataType::fp32;
    case Precision::bf16:
      return DataType::bf16;
    case Precision::fp16:
    case Precision::fp8:
      break;
  }
  in.reject("precision: expected fp32 or bf16: no other can be trained in");
}

std::chrono::milliseconds minutes(const Reader& in) {
  constexpr double kMost = 7.0 * 24.0 * 60.0;
  const double given = in.positive_number();
  if (given > kMost) {
    in.fail("a number of minutes up to a week");
  }
  return std::chrono::ceil<std::chrono::milliseconds>(
      std::chrono::duration<double, std::ratio<60>>(given));
}

void read_evaluation(ObjectReader& members, TrainConfig& config) {
  config.eval_interval = read_or(members, "eval_interval", config.eval_interval, steps);
  config.eval_iters = read_or(members, "eval_iters", config.eval_iters, steps);
  if ((config.eval_interval > 0) != (config.eval_iters > 0)) {
    members.place().reject("eval_interval and eval_iters go together");
  }
}

void read_trainer(ObjectReader& members, TrainConfig& config) {
  TrainerConfig& trainer = config.trainer;
  config.train_iters = members.at("train_iters").integer(1, kMostSteps);
  const double tokens = static_cast<double>(config.train_iters) *
                        static_cast<double>(config.plan.global_batch_size()) *
                        static_cast<double>(config.plan.model.seq_length);
  if (tokens > 1e17) {  // far from the end of 64-bit counts
    members.place().reject(fmt::format("trains on {:.1e} tokens, expected at most 1e17", tokens));
  }
  trainer.seed = read_or(members, "seed", trainer.seed, [](const Reader& in) {
    return in.integer(0, std::numeric_limits<std::uint32_t>::max());
  });
  trainer.optimizer.clip_grad =
      read_or(members, "clip_grad", trainer.optimizer.clip_grad, not_negative);
  trainer.num_buckets = read_or(members, "num_buckets", trainer.num_buckets, [](const Reader& in) {
    return in.integer(1, std::numeric_limits<std::int16_t>::max());
  });
  trainer.redundancy = read_or(members, "redundancy", trainer.redundancy, &Reader::boolean);
  trainer.rotary_base =
      read_or(members, "rotary_base", trainer.rotary_base, &Reader::positive_number);
  trainer.norm_epsilon =
      read_or(members, "norm_epsilon", trainer.norm_epsilon, &Reader::positive_number);
  trainer.timeout = read_or(members, "distributed_timeout_minutes", trainer.timeout, minutes);
  read_evaluation(members, config);
  if (trainer.redundancy && config.plan.training.zero_stage == 0) {
    members.place().reject("redundancy copies the slices of zero_stage 1; here it is 0");
  }
}

void read_wsd(ObjectReader& members, std::int64_t batch, LrSchedule& lr) {
  lr.wsd_style = static_cast<WsdDecayStyle>(read_or(
      members, "lr_wsd_decay_style", static_cast<std::size_t>(lr.wsd_style), [](const Reader& in) {
        return in.choice({"linear", "cosine", "exponential", "minus_sqrt"});
      }));
  const std::optional<Reader> iters = members.find("lr_wsd_decay_iters");
  if (iters.has_value() != (lr.style == LrDecayStyle::wsd)) {
    members.place().reject("lr_decay_style = \"WSD\" goes with lr_wsd_decay_iters");
  }
  lr.wsd_decay_samples = iters ? iters->integer(1, lr.decay_samples / batch) * batch : 0;
}

void read_lr(ObjectReader& members, const TrainConfig& config, LrSchedule& lr) {
  const std::int64_t batch = config.plan.global_batch_size();
  lr.lr = members.at("lr").positive_number();
  lr.min_lr =
      read_or(members, "min_lr", 0.0, [&](const Reader& in) { return in.number(0.0, lr.lr); });
  lr.init_lr = read_or(
      members, "lr_warmup_init", 0.0, [&](const Reader& in) { return in.number(0.0, lr.lr); });
  lr.style = static_cast<LrDecayStyle>(
      read_or(members,
              "lr_decay_style",
              static_cast<std::size_t>(LrDecayStyle::linear),
              [](const Reader& in) {
                return in.choice({"constant", "linear", "cosine", "inverse-square-root", "WSD"});
              }));
  const std::int64_t decay =
      read_or(members, "lr_decay_iters", config.train_iters, [](const Reader& in) {
        return in.integer(1, kMostSteps);
      });
  const std::int64_t warmup = read_or(members, "lr_warmup_iters", std::int64_t{0}, steps);
  if (warmup >= decay) {
    members.place().reject(
        fmt::format("lr_warmup_iters {} is not below lr_decay_iters {}", warmup, decay));
  }
  lr.decay_samples = decay * batch;
  lr.warmup_samples = warmup * batch;
  read_wsd(members, batch, lr);
}

void read_optimizer(const Reader& in, TrainConfig& config) {
  ObjectReader members = in.object();
  OptimizerConfig& optimizer = config.trainer.optimizer;
  read_lr(members, config, config.trainer.lr);
  optimizer.weight_decay = read_or(members, "weight_decay", optimizer.weight_decay, not_negative);
  optimizer.adam_beta1 = read_or(members, "adam_beta1", optimizer.adam_beta1, fraction);
  optimizer.adam_beta2 = read_or(members, "adam_beta2", optimizer.adam_beta2, fraction);
  optimizer.adam_eps = read_or(members, "adam_eps", optimizer.adam_eps, &Reader::positive_number);
  members.finish();
}

LogConfig read_log(const Reader& in) {
  ObjectReader members = in.object();
  LogConfig log;
  log.log_interval = read_or(members, "log_interval", log.log_interval, [](const Reader& item) {
    return item.integer(1, kMostSteps);
  });
  log.log_throughput = read_or(members, "log_throughput", log.log_throughput, &Reader::boolean);
  if (const auto directory = members.find("tensorboard_dir")) {
    log.tensorboard_dir = directory->text();
  }
  members.finish();
  return log;
}

std::filesystem::path folder(const Reader& in) {
  const std::string name = in.text();
  if (name.empty()) {
    in.fail("the name of a folder");
  }
  return name;
}

CheckpointConfig read_checkpoint(const Reader& in) {
  ObjectReader members = in.object();
  CheckpointConfig checkpoint;
  checkpoint.save = read_or(members, "save", checkpoint.save, folder);
  checkpoint.load = read_or(members, "load", checkpoint.load, folder);
  const bool has_details = members.find("save_interval") || members.find("keep");
  checkpoint.save_interval =
      read_or(members, "save_interval", checkpoint.save_interval, [](const Reader& item) {
        return item.integer(1, kMostSteps);
      });
  checkpoint.keep = read_or(members, "keep", checkpoint.keep, steps);
  members.finish();
  if (has_details && !checkpoint.save) {
    in.reject("save_interval and keep go with save");
  }
  return checkpoint;
}

std::chrono::milliseconds seconds(const Reader& in) {
  constexpr double kMost = 7.0 * 24.0 * 3600.0;
  return std::chrono::ceil<std::chrono::milliseconds>(
      std::chrono::duration<double>(in.number(0.0, kMost)));
}

std::chrono::milliseconds positive_seconds(const Reader& in) {
  static_cast<void>(in.positive_number());
  return seconds(in);
}

std::string policy_name(const Reader& in) {
  std::vector<std::string_view> names;
  for (const InPlacePolicy policy : kInPlacePolicies) {
    names.push_back(to_string(policy));
  }
  return std::string(names[in.choice(names)]);
}

RecoveryConfig read_recovery(const Reader& in, Plan& plan) {
  ObjectReader members = in.object();
  RecoveryConfig recovery;
  plan.policy = read_or(members, "policy", plan.policy, policy_name);
  recovery.wait_for_spare = read_or(members, "wait_for_spare_s", recovery.wait_for_spare, seconds);
  recovery.join_timeout = read_or(members, "join_timeout_s", recovery.join_timeout, seconds);
  recovery.in_place_timeout =
      read_or(members, "in_place_timeout_s", recovery.in_place_timeout, seconds);
  recovery.hang_timeout =
      read_or(members, "hang_timeout_s", recovery.hang_timeout, positive_seconds);
  recovery.lost_host_timeout =
      read_or(members, "lost_host_timeout_s", recovery.lost_host_timeout, positive_seconds);
  const std::size_t rule = read_or(
      members, "rejoin_rule", std::size_t{recovery.rejoins_when_it_pays}, [](const Reader& item) {
        return item.choice({"always", "when_it_pays"});
      });
  recovery.rejoins_when_it_pays = rule == 1;
  recovery.rejoin_pause = read_or(members, "rejoin_pause_s", recovery.rejoin_pause, seconds);
  recovery.max_restarts =
      read_or(members, "max_restarts", recovery.max_restarts, [](const Reader& item) {
        return item.integer(0, 1'000'000);
      });
  recovery.restart_delay = read_or(members, "restart_delay_s", recovery.restart_delay, seconds);
  members.finish();
  return recovery;
}

}  // namespace

TrainConfig read_train_config(const Reader& in) {
  ObjectReader members = in.object();
  const Reader training = members.at("training");
  ObjectReader training_members = training.object();
  TrainConfig config;
  config.document = in.value();
  config.plan = read_train_plan(members, training_members);
  config.trainer.type = type_of(config.plan, training);
  read_trainer(training_members, config);
  training_members.finish();
  read_optimizer(members.at("optimizer"), config);
  config.data = read_data(members.at("data"));
  config.log = read_or(members, "log", config.log, read_log);
  config.checkpoint = read_or(members, "checkpoint", config.checkpoint, read_checkpoint);
  config.recovery = read_or(members, "recovery", config.recovery, [&](const Reader& recovery) {
    return read_recovery(recovery, config.plan);
  });
  config.store = read_or(members, "store", config.store, &Reader::text);
  members.finish();
  return config;
}

TrainConfig load_train_config(const std::filesystem::path& path,
                              const std::vector<std::string>& overrides) {
  Value document = read_document(path);
  for (const std::string& assignment : overrides) {
    apply_override(document, assignment);
  }
  return read_train_config(Reader(document, path.string()));
}

}  // namespace runflat::exec

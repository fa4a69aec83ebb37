#include "exec/job/job_log.hpp"

#include "core/document.hpp"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <fmt/format.h>
#include <ostream>
#include <system_error>

namespace runflat::exec {

JobLog::JobLog(const TrainConfig& config,
               const std::optional<std::filesystem::path>& json,
               bool goes_on,
               std::ostream& console)
    : config_(config.log), train_iters_(config.train_iters), console_(console), path_(json) {
  if (json) {
    json_.open(*json, goes_on ? std::ios::app : std::ios::out);
    if (!json_) {
      throw std::filesystem::filesystem_error(
          "cannot write", *json, std::error_code(errno, std::generic_category()));
    }
  }
  if (config_.tensorboard_dir) {
    events_.emplace(*config_.tensorboard_dir);
  }
}

void JobLog::add_header(const Value& header) {
  if (json_.is_open()) {
    json_ << to_json_text(header, -1) << std::flush;
  }
}

void JobLog::add(const StepRecord& record) {
  interval_.add(record);
  if (json_.is_open()) {
    json_ << to_json_text(to_value(record), -1) << std::flush;
  }
  if (events_) {
    add_event(record);
  }
  if (record.step % config_.log_interval == 0) {
    console_ << interval_.take_line(
                    std::chrono::system_clock::now(), train_iters_, config_.log_throughput)
             << std::endl;
  }
}

void JobLog::add_event(const StepRecord& record) {
  EventFile::Scalars scalars = {{"learning-rate", record.lr},
                                {"batch-size", static_cast<double>(record.global_batch_size)},
                                {"lm loss", record.loss},
                                {"loss-scale", 1.0},
                                {"grad-norm", record.grad_norm},
                                {"iteration-time", record.step_time.value_or(Seconds()).count()},
                                {"world-size", static_cast<double>(record.num_ranks)}};
  if (config_.log_throughput) {
    scalars.emplace_back("throughput", record.flops_rate().value_or(0.0) / 1e12);
  }
  events_->add(record.step, scalars);
}

void JobLog::add_validation(std::int64_t step, double loss) {
  console_ << validation_lines(fmt::format("iteration {}", step), loss) << std::endl;
  if (events_) {
    events_->add(
        step,
        {{"lm loss validation", loss}, {"lm loss validation ppl", std::exp(std::min(20.0, loss))}});
  }
}

void JobLog::add_loaded(const std::filesystem::path& checkpoint, std::int64_t step) {
  console_ << fmt::format("  successfully loaded checkpoint from {} at iteration {}",
                          checkpoint.string(),
                          step)
           << std::endl;
}

void JobLog::add_saved(const std::filesystem::path& folder, std::int64_t step) {
  console_ << fmt::format("  successfully saved checkpoint from iteration {:7} to {}",
                          step,
                          folder.string())
           << std::endl;
}

void JobLog::add_stop(std::int64_t step) {
  console_ << fmt::format("exiting program after receiving SIGTERM at iteration {}", step)
           << std::endl;
}

void JobLog::add_recovery(const RecoveryRecord& record,
                          const Plan& plan,
                          std::optional<Seconds> redo) {
  const std::int64_t num_ranks = plan.layout.num_ranks();
  console_ << fmt::format("  recovered in {:.3f} s at iteration {}, {} ranks go on: {}",
                          seconds_of(record),
                          record.at_step,
                          num_ranks,
                          record.reason)
           << std::endl;
  if (json_.is_open()) {
    json_ << to_json_text(Value::Object{{"recovery", to_value(record, num_ranks, redo)}}, -1)
          << to_json_text(Value::Object{{"plan", to_value(plan)}}, -1) << std::flush;
  }
}

std::int64_t JobLog::last_step() const {
  std::int64_t last = 0;
  if (path_) {
    std::ifstream in(*path_);
    for (std::string line; std::getline(in, line);) {
      if (line.starts_with("{\"step\":")) {
        last = std::stoll(line.substr(8));
      }
    }
  }
  return last;
}

}  // namespace runflat::exec

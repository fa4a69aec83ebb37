#include "exec/job/train_config.hpp"

#include "core/document.hpp"
#include "core/error.hpp"
#include "core/override.hpp"
#include "exec/recovery/agreement.hpp"
#include "tests/catch.hpp"
#include "tests/exec/data_files.hpp"

#include <string>
#include <vector>

using namespace runflat;
using namespace runflat::exec;

namespace {

const char* const kJob = R"(
[model]
name = "tiny"
family = "llama"
num_layers = 4
hidden_size = 32
ffn_hidden_size = 48
num_attention_heads = 8
num_query_groups = 4
seq_length = 16
vocab_size = 100
[layout]
tensor_model_parallel_size = 4
data_parallel_size = 2
[training]
micro_batch_size = 2
global_batch_size = 16
train_iters = 50
[optimizer]
lr = 1e-3
[data]
mock_data = true
)";

TrainConfig read(const std::vector<std::string>& changes) {
  Value document = parse_toml(kJob, "job.toml");
  for (const std::string& change : changes) {
    apply_override(document, change);
  }
  return read_train_config(Reader(document, "job.toml"));
}

std::string error_of(const std::vector<std::string>& changes) {
  try {
    static_cast<void>(read(changes));
  } catch (const ParseError& error) {
    return error.what();
  }
  return "no error";
}

}  // namespace

TEST_CASE("a job with nothing but what it must say has Megatron's defaults", "[exec][train]") {
  const TrainConfig config = read({});
  CHECK(config.plan.layout.num_ranks() == 8);
  CHECK(config.plan.global_batch_size() == 16);
  CHECK(config.trainer.type == DataType::bf16);
  CHECK(config.trainer.seed == 1234);
  CHECK(config.trainer.optimizer.clip_grad == 1.0);
  CHECK(config.trainer.optimizer.weight_decay == 0.01);
  CHECK(config.trainer.optimizer.adam_beta2 == 0.999);
  CHECK(config.trainer.lr.style == LrDecayStyle::linear);
  CHECK(config.trainer.lr.decay_samples == 50 * 16);
  CHECK(config.trainer.lr.warmup_samples == 0);
  CHECK(config.trainer.timeout == std::chrono::minutes(10));
  CHECK(config.log.log_interval == 100);
  CHECK(config.eval_interval == 0);
  CHECK(!config.checkpoint.save);
  CHECK(!config.checkpoint.load);
  CHECK(config.checkpoint.keep == 3);
}

TEST_CASE("every key reaches what it sets", "[exec][train]") {
  const TrainConfig config = read({"training.precision=fp32",
                                   "training.seed=7",
                                   "training.clip_grad=0",
                                   "training.num_buckets=5",
                                   "training.redundancy=true",
                                   "training.rotary_base=500000",
                                   "training.norm_epsilon=1e-6",
                                   "training.distributed_timeout_minutes=0.5",
                                   "training.eval_interval=10",
                                   "training.eval_iters=3",
                                   "training.num_microbatches=[5, 3]",
                                   "optimizer.lr=3e-4",
                                   "optimizer.min_lr=3e-5",
                                   "optimizer.lr_decay_style=WSD",
                                   "optimizer.lr_wsd_decay_style=minus_sqrt",
                                   "optimizer.lr_wsd_decay_iters=10",
                                   "optimizer.lr_warmup_iters=4",
                                   "optimizer.lr_warmup_init=1e-6",
                                   "optimizer.lr_decay_iters=40",
                                   "optimizer.weight_decay=0.1",
                                   "optimizer.adam_beta1=0.8",
                                   "optimizer.adam_beta2=0.95",
                                   "optimizer.adam_eps=1e-6",
                                   "log.log_interval=1",
                                   "log.log_throughput=true",
                                   "log.tensorboard_dir=tb",
                                   "checkpoint.save=ck",
                                   "checkpoint.save_interval=20",
                                   "checkpoint.keep=0",
                                   "checkpoint.load=ck/step_00000100",
                                   "recovery.hang_timeout_s=20",
                                   "recovery.lost_host_timeout_s=2.5",
                                   "store=redis://host"});
  CHECK(config.trainer.type == DataType::fp32);
  CHECK(config.trainer.seed == 7);
  CHECK(config.trainer.optimizer.clip_grad == 0.0);
  CHECK(config.trainer.num_buckets == 5);
  CHECK(config.trainer.redundancy);
  CHECK(config.trainer.rotary_base == 500000.0);
  CHECK(config.trainer.norm_epsilon == 1e-6);
  CHECK(config.trainer.timeout == std::chrono::seconds(30));
  CHECK(config.eval_interval == 10);
  CHECK(config.eval_iters == 3);
  CHECK(config.plan.replicas[0].num_microbatches == 5);
  CHECK(config.plan.replicas[1].num_microbatches == 3);
  const LrSchedule& lr = config.trainer.lr;
  CHECK(lr.lr == 3e-4);
  CHECK(lr.min_lr == 3e-5);
  CHECK(lr.init_lr == 1e-6);
  CHECK(lr.style == LrDecayStyle::wsd);
  CHECK(lr.wsd_style == WsdDecayStyle::minus_square_root);
  CHECK(lr.wsd_decay_samples == 10 * 16);
  CHECK(lr.warmup_samples == 4 * 16);
  CHECK(lr.decay_samples == 40 * 16);
  CHECK(config.trainer.optimizer.weight_decay == 0.1);
  CHECK(config.trainer.optimizer.adam_beta1 == 0.8);
  CHECK(config.trainer.optimizer.adam_beta2 == 0.95);
  CHECK(config.trainer.optimizer.adam_eps == 1e-6);
  CHECK(config.log.log_interval == 1);
  CHECK(config.log.log_throughput);
  CHECK(config.log.tensorboard_dir == "tb");
  CHECK(config.checkpoint.save == "ck");
  CHECK(config.checkpoint.save_interval == 20);
  CHECK(config.checkpoint.keep == 0);
  CHECK(config.checkpoint.load == "ck/step_00000100");
  CHECK(config.recovery.hang_timeout == std::chrono::seconds(20));
  CHECK(config.recovery.lost_host_timeout == std::chrono::milliseconds(2500));
  CHECK(config.store == "redis://host");
}

TEST_CASE("a wrong value is named with its path", "[exec][train]") {
  struct Case {
    std::string change;
    std::string place;
    std::string expected;
  };
  const std::vector<Case> cases = {
      {"colour=1", "colour", "unknown key"},
      {"training.colour=1", "training.colour", "unknown key"},
      {"layout.colour=1", "layout.colour", "unknown key"},
      {"optimizer.colour=1", "optimizer.colour", "unknown key"},
      {"data.colour=1", "data.colour", "unknown key"},
      {"log.colour=1", "log.colour", "unknown key"},
      {"training.train_iters=0", "training.train_iters", "an integer from 1"},
      {"training.seed=-1", "training.seed", "an integer from 0"},
      {"training.clip_grad=-1", "training.clip_grad", "a number of at least 0"},
      {"training.num_buckets=0", "training.num_buckets", "an integer from 1"},
      {"training.redundancy=1", "training.redundancy", "true or false"},
      {"training.precision=fp8", "training", "fp32 or bf16"},
      {"training.precision=fp64", "training.precision", "one of"},
      {"training.rotary_base=0", "training.rotary_base", "above 0"},
      {"training.norm_epsilon=0", "training.norm_epsilon", "above 0"},
      {"training.distributed_timeout_minutes=0", "distributed_timeout_minutes", "above 0"},
      {"training.distributed_timeout_minutes=1e9", "distributed_timeout_minutes", "a week"},
      {"training.eval_interval=10", "training", "go together"},
      {"training.global_batch_size=15", "training", "not divisible by micro_batch_size 2"},
      {"training.global_batch_size=14", "training", "data_parallel_size 2"},
      {"training.num_microbatches=[8]", "training.num_microbatches", "1 numbers"},
      {"training.num_microbatches=[5, 5]", "training.num_microbatches", "not global_batch_size 16"},
      {"training.num_microbatches=[8, 0]", "training.num_microbatches", "an integer from 1"},
      {"layout.tensor_model_parallel_size=16", "layout", "num_attention_heads 8"},
      {"layout.pipeline_model_parallel_size=8", "layout", "num_layers 4"},
      {"layout.virtual_pipeline_model_parallel_size=2", "training", "interleaved"},
      {"layout.non_active_ranks_per_dp={\"2\" = [1]}", "non_active_ranks_per_dp", "\"dp\""},
      {"layout.non_active_ranks_per_dp={\"1\" = [4]}", "non_active_ranks_per_dp.1", "integer"},
      {"layout.non_active_ranks_per_dp={\"1\" = [0, 1, 2, 3]}", "per_dp.1", "none of the 4"},
      {"cluster={gpu = \"h100\", num_nodes = 1, gpus_per_node = 4}", "layout", "has 4 GPUs"},
      {"cluster={gpu = \"h100\", num_nodes = 4, gpus_per_node = 2}", "layout", "NVLink"},
      {"optimizer.lr=0", "optimizer.lr", "above 0"},
      {"optimizer.min_lr=1", "optimizer.min_lr", "from 0 to 0.001"},
      {"optimizer.lr_warmup_init=1", "optimizer.lr_warmup_init", "from 0 to 0.001"},
      {"optimizer.lr_decay_style=wsd", "optimizer.lr_decay_style", "WSD"},
      {"optimizer.lr_decay_style=WSD", "optimizer", "lr_wsd_decay_iters"},
      {"optimizer.lr_wsd_decay_iters=2", "optimizer", "WSD"},
      {"optimizer.lr_decay_iters=0", "optimizer.lr_decay_iters", "an integer from 1"},
      {"optimizer.lr_warmup_iters=50", "optimizer", "not below lr_decay_iters 50"},
      {"optimizer.weight_decay=-1", "optimizer.weight_decay", "at least 0"},
      {"optimizer.adam_beta1=1.5", "optimizer.adam_beta1", "from 0 to 1"},
      {"optimizer.adam_beta2=-1", "optimizer.adam_beta2", "from 0 to 1"},
      {"optimizer.adam_eps=0", "optimizer.adam_eps", "above 0"},
      {"data.mock_data=false", "data", "either data_path or mock_data"},
      {"data.data_path=text", "data", "either data_path or mock_data"},
      {"data.split=1", "data", "mock data has no"},
      {"data.eod_mask_loss=true", "data", "eod_token_id"},
      {"log.log_interval=0", "log.log_interval", "an integer from 1"},
      {"log.log_throughput=yes", "log.log_throughput", "true or false"},
      {"log.tensorboard_dir=1", "log.tensorboard_dir", "text"},
      {"checkpoint.colour=1", "checkpoint.colour", "unknown key"},
      {"checkpoint.save=1", "checkpoint.save", "text"},
      {"checkpoint.load=\"\"", "checkpoint.load", "the name of a folder"},
      {"checkpoint={save = \"ck\", save_interval = 0}", "save_interval", "an integer from 1"},
      {"checkpoint={save = \"ck\", keep = -1}", "checkpoint.keep", "an integer from 0"},
      {"checkpoint.save_interval=5", "checkpoint", "go with save"},
      {"recovery.hang_timeout_s=0", "recovery.hang_timeout_s", "above 0"},
      {"recovery.lost_host_timeout_s=0", "recovery.lost_host_timeout_s", "above 0"},
      {"layout.spare_domains=-1", "layout.spare_domains", "an integer from 0"},
      {"recovery.policy=restart", "recovery.policy", "one of"},
      {"recovery.wait_for_spare_s=-1", "recovery.wait_for_spare_s", "a number from 0"},
      {"store=1", "store", "text"},
      {"plan=1", "plan", "text"},
      {"plan=nowhere.json", "nowhere.json", "cannot"},
  };
  for (const Case& wrong : cases) {
    CAPTURE(wrong.change);
    const std::string error = error_of({wrong.change});
    CAPTURE(error);
    CHECK(error.find(wrong.place) != std::string::npos);
    CHECK(error.find(wrong.expected) != std::string::npos);
  }
  CHECK(error_of({"training.train_iters=2000000000", "training.global_batch_size=1000000000"})
            .find("training: trains on 3.2e+19 tokens") != std::string::npos);
  CHECK(error_of({"training.redundancy=true", "training.zero_stage=0"}).find("zero_stage") !=
        std::string::npos);
  CHECK(error_of({"cluster={gpu = \"h100\", num_nodes = 2, gpus_per_node = 4}",
                  "layout.spare_domains=1"})
            .find("layout: spare_domains 1, and 0 of the cluster's 2 domains have no rank") !=
        std::string::npos);
}

TEST_CASE("spare domains are those of the cluster that have no rank", "[exec][train]") {
  const Plan alone = read({"layout.spare_domains=2"}).plan;  // domains of their own
  CHECK(alone.cluster.num_gpus() == 16);
  CHECK(alone.spare_domains == std::vector<DomainId>{DomainId(2), DomainId(3)});
  CHECK(processes_of(alone).size() == 16);
  const std::string cluster = "cluster={gpu = \"h100\", num_nodes = 4, gpus_per_node = 4}";
  CHECK(read({cluster}).plan.spare_domains.empty());
  const Plan one = read({cluster, "layout.spare_domains=1"}).plan;
  CHECK(one.spare_domains == std::vector<DomainId>{DomainId(2)});
  CHECK(processes_of(one).size() == 12);
}

TEST_CASE("the policy of recovery is the plan's, unless it is said", "[exec][train]") {
  CHECK(read({}).plan.policy == "ntp");
  const TrainConfig config =
      read({"recovery.policy=spare_domain", "recovery.wait_for_spare_s=1.5"});
  CHECK(config.plan.policy == "spare_domain");
  CHECK(config.recovery.wait_for_spare == std::chrono::milliseconds(1500));
  CHECK(read({}).recovery.wait_for_spare == std::chrono::milliseconds(0));
}

TEST_CASE("a plan stands for model, layout and batch", "[exec][train]") {
  const Plan plan = read({"layout.non_active_ranks_per_dp={\"1\" = [0, 2]}"}).plan;
  const TemporaryDirectory folder;
  const std::string path = folder.path() / "plan.json";
  write_bytes(path, to_json_text(to_value(plan)));
  Value document = parse_toml(
      "[training]\ntrain_iters = 3\n[optimizer]\nlr = 1\n[data]\nmock_data = true\n", "job.toml");
  document.set("plan", path);
  CHECK(read_train_config(Reader(document, "job.toml")).plan == plan);
  document.set_path("training.micro_batch_size", 1);
  CHECK_THROWS_AS(read_train_config(Reader(document, "job.toml")), ParseError);
}

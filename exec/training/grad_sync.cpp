#include "exec/training/grad_sync.hpp"

#include <algorithm>
#include <utility>

namespace runflat::exec {

GradSync::GradSync(Device& device, StageState& state, Communicator* tp, Communicator* dp)
    : device_(device), state_(state), tp_(tp), dp_(dp) {
  std::size_t next = state.params().size();
  for (const BucketShape& bucket : state.layout().buckets) {
    next = bucket.params.empty() ? next
                                 : *std::min_element(bucket.params.begin(), bucket.params.end());
    first_param_.push_back(next);
  }
  exchanged_.resize(first_param_.size());
  reduced_.resize(first_param_.size());
}

bool GradSync::is_sync_rank() const {
  return state_.place().tp_rank.value() < state_.place().sync_degree;
}

std::vector<std::int64_t> GradSync::slice_counts(const Bucket& bucket) const {
  const std::int64_t peers = state_.place().num_peers;
  return std::vector<std::int64_t>(static_cast<std::size_t>(peers), bucket.shape.num_sync / peers);
}

void GradSync::params_ready(std::size_t first_param) {
  while (num_started_ < first_param_.size() && first_param_[num_started_] >= first_param) {
    start(num_started_++);
  }
}

/// Sums need the compute stream: they wait until the next bucket is ready, so that it does not
/// stand still for the messages. Without sums the reduction follows the exchange on its own.
void GradSync::start(std::size_t bucket) {
  while (num_reduced_ < bucket) {
    reduce(num_reduced_++);
  }
  Bucket& it = state_.buckets()[bucket];
  if (it.exchange.moves_gradients()) {
    exchanged_[bucket] = it.exchange.post_gradients(
        device_, *tp_, it.grads.data(), it.staging.data(), state_.accumulate_type());
    operations_.push_back(
        {.kind = SyncOperation::Kind::reshard_to_sync,
         .bucket = bucket,
         .ticket = exchanged_[bucket],
         .bytes = it.exchange.num_gradients_sent() * kernels::size_of(state_.accumulate_type())});
  }
  if (!it.exchange.has_sums()) {
    reduce(num_reduced_++);
  }
}

void GradSync::reduce(std::size_t bucket) {
  Bucket& it = state_.buckets()[bucket];
  const DataType type = state_.accumulate_type();
  if (it.exchange.has_sums()) {
    tp_->join(exchanged_[bucket]);
    it.exchange.sum_gradients(device_, it.grads.data(), it.staging.data(), type);
  }
  if (dp_ == nullptr || !is_sync_rank() || it.shape.num_sync == 0) {
    return;
  }
  if (it.exchange.moves_gradients()) {
    dp_->follow(*tp_, exchanged_[bucket]);
  }
  reduced_[bucket] =
      state_.place().is_sharded
          ? dp_->reduce_scatter(it.grads.data(), slice_counts(it), type, ReduceOp::sum)
          : dp_->all_reduce(it.grads.data(), it.shape.num_sync, type, ReduceOp::sum);
  operations_.push_back({.kind = SyncOperation::Kind::reduce,
                         .bucket = bucket,
                         .ticket = reduced_[bucket],
                         .bytes = it.shape.num_sync * kernels::size_of(type)});
}

void GradSync::finish_reduction() {
  params_ready(0);
  while (num_reduced_ < first_param_.size()) {
    reduce(num_reduced_++);
  }
  for (std::size_t bucket = 0; bucket < first_param_.size(); ++bucket) {
    if (exchanged_[bucket] != 0) {
      tp_->join(std::exchange(exchanged_[bucket], 0));
    }
    if (reduced_[bucket] != 0) {
      dp_->join(std::exchange(reduced_[bucket], 0));
    }
  }
  num_started_ = 0;
  num_reduced_ = 0;
}

void GradSync::copy_slices() {
  const StagePlace& place = state_.place();
  if (!place.keeps_copy_of || dp_ == nullptr || !is_sync_rank()) {
    return;
  }
  const std::int64_t size = kernels::size_of(state_.accumulate_type());
  std::vector<Send> sends;
  std::vector<Receive> receives;
  for (const Bucket& bucket : state_.buckets()) {
    const ElementRange& own = bucket.slice.elements;
    const void* grads = bucket.grads.at(own.first * size);
    sends.push_back({*place.copy_is_kept_by, grads, own.num * size});
    receives.push_back(
        {*place.keeps_copy_of, bucket.buddy_grads.data(), bucket.buddy->elements.num * size});
  }
  dp_->join(dp_->exchange(sends, receives));
}

void GradSync::start_distribution(std::size_t bucket) {
  Bucket& it = state_.buckets()[bucket];
  const std::int64_t size = kernels::size_of(state_.type());
  if (state_.place().is_sharded && dp_ != nullptr && is_sync_rank() && it.shape.num_sync > 0) {
    last_gather_ = dp_->all_gather(it.weights.data(), slice_counts(it), state_.type());
    operations_.push_back({.kind = SyncOperation::Kind::gather,
                           .bucket = bucket,
                           .ticket = last_gather_,
                           .bytes = it.shape.num_sync * size});
    if (it.exchange.copies_params()) {
      dp_->join(last_gather_);
    } else if (it.exchange.moves_params()) {
      tp_->follow(*dp_, last_gather_);
    }
  }
  if (it.exchange.moves_params()) {
    last_exchange_ = it.exchange.post_params(device_, *tp_, it.weights.data(), state_.type());
    operations_.push_back({.kind = SyncOperation::Kind::reshard_to_compute,
                           .bucket = bucket,
                           .ticket = last_exchange_,
                           .bytes = it.exchange.num_params_sent() * size});
  }
}

void GradSync::finish_distribution() {
  if (last_gather_ != 0) {
    dp_->join(std::exchange(last_gather_, 0));
  }
  if (last_exchange_ != 0) {
    tp_->join(std::exchange(last_exchange_, 0));
  }
}

std::vector<SyncOperation> GradSync::take_operations() {
  return std::exchange(operations_, {});
}

}  // namespace runflat::exec

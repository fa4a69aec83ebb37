#include "tests/bench/gpu_bench.hpp"

#include "kernels/host_dispatch.hpp"
#include "kernels/random_normal.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

namespace runflat::bench {
namespace {

using kernels::check_cuda;
using kernels::DataType;

constexpr std::int64_t kRotationBytes = std::int64_t{1} << 30;
constexpr std::int64_t kAlignment = 256;

std::int64_t padded(std::int64_t bytes) {
  return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

void fill(const Tensor& tensor, std::byte* data, std::uint64_t stream_id) {
  if (tensor.fill == Fill::zero) {
    check_cuda(cudaMemset(data, 0, static_cast<std::size_t>(tensor.bytes())), "cudaMemset");
    return;
  }
  if (tensor.fill == Fill::normal) {
    kernels::random_normal(
        {.dst = data, .num = tensor.num, .seed = 1, .stream_id = stream_id, .type = tensor.type},
        nullptr);
    return;
  }
  std::vector<std::int32_t> ids(static_cast<std::size_t>(tensor.num));
  std::iota(ids.begin(), ids.end(), 0);
  if (tensor.fill == Fill::ids) {
    std::mt19937_64 bits(stream_id);
    for (std::int32_t& id : ids) {
      id = static_cast<std::int32_t>(bits() % static_cast<std::uint64_t>(tensor.limit));
    }
  }
  check_cuda(cudaMemcpy(data, ids.data(), ids.size() * 4, cudaMemcpyHostToDevice), "cudaMemcpy");
}

std::vector<double> to_numbers(const Tensor& tensor, const std::vector<std::byte>& bytes) {
  std::vector<double> out;
  kernels::with_host_type(tensor.type, [&]<typename T>() {
    const auto* elements = reinterpret_cast<const T*>(bytes.data());
    for (std::int64_t i = 0; i < tensor.num; ++i) {
      out.push_back(static_cast<double>(elements[i]));
    }
  });
  return out;
}

std::vector<std::byte> read(const Tensor& tensor, const std::byte* device) {
  std::vector<std::byte> out(static_cast<std::size_t>(tensor.bytes()));
  check_cuda(cudaMemcpy(out.data(), device, out.size(), cudaMemcpyDeviceToHost), "cudaMemcpy");
  return out;
}

/// Elements that are further than 2 % from the reference's, or than 2 % of a typical one. NaN is.
std::int64_t num_wrong(const std::vector<double>& got, const std::vector<double>& expected) {
  double squares = 0.0;
  for (const double value : expected) {
    squares += value * value;
  }
  const double typical = std::sqrt(squares / static_cast<double>(expected.size()));
  std::int64_t wrong = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const double allowed = 0.02 * (std::abs(expected.at(i)) + typical);
    wrong += std::abs(got.at(i) - expected.at(i)) <= allowed ? 0 : 1;
  }
  return wrong;
}

/// Runs kernel and reference on the same memory.
std::int64_t count_wrong(const Work& work) {
  const Rotation device(work.tensors);
  std::vector<std::vector<std::byte>> host;
  Pointers pointers;
  for (std::size_t i = 0; i < work.tensors.size(); ++i) {
    host.push_back(read(work.tensors.at(i), device.part(0).at(i)));
    pointers.push_back(host.back().data());
  }
  work.run(device.part(0), nullptr);
  work.reference(pointers);
  std::int64_t wrong = 0;
  for (const std::size_t i : work.written) {
    const Tensor& tensor = work.tensors.at(i);
    wrong += num_wrong(to_numbers(tensor, read(tensor, device.part(0).at(i))),
                       to_numbers(tensor, host.at(i)));
  }
  return wrong;
}

class Event {
 public:
  Event() { check_cuda(cudaEventCreate(&event_), "cudaEventCreate"); }
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  ~Event() { cudaEventDestroy(event_); }
  void record() const { check_cuda(cudaEventRecord(event_), "cudaEventRecord"); }
  [[nodiscard]] double seconds_since(const Event& begin) const {
    check_cuda(cudaEventSynchronize(event_), "cudaEventSynchronize");
    float milliseconds = 0.0F;
    check_cuda(cudaEventElapsedTime(&milliseconds, begin.event_, event_), "cudaEventElapsedTime");
    return milliseconds * 1e-3;
  }

 private:
  cudaEvent_t event_ = nullptr;
};

double measure_copy_rate() {
  const std::vector<Tensor> sides(2, {.num = std::int64_t{1} << 29});
  const Rotation buffers(sides);
  const Pointers& data = buffers.part(0);
  const auto bytes = static_cast<std::size_t>(sides.front().bytes());
  std::vector<double> times;
  const Event begin;
  const Event end;
  for (int i = 0; i < 23; ++i) {
    begin.record();
    check_cuda(cudaMemcpyAsync(data.at(1), data.at(0), bytes, cudaMemcpyDeviceToDevice),
               "cudaMemcpyAsync");
    end.record();
    const double seconds = end.seconds_since(begin);
    if (i >= 3) {
      times.push_back(seconds);
    }
  }
  std::sort(times.begin(), times.end());
  return 2.0 * static_cast<double>(bytes) / times.at(times.size() / 2);
}

}  // namespace

Rotation::Rotation(const std::vector<Tensor>& tensors) {
  std::int64_t part_bytes = 0;
  for (const Tensor& tensor : tensors) {
    part_bytes += padded(tensor.bytes());
  }
  const std::int64_t num_parts = 1 + (kRotationBytes + part_bytes - 1) / part_bytes;
  const std::int64_t total = std::min<std::int64_t>(num_parts, 100) * part_bytes;
  check_cuda(cudaMalloc(&memory_, static_cast<std::size_t>(total)), "cudaMalloc");
  std::uint64_t stream_id = 0;
  for (std::int64_t first = 0; first < total; first += part_bytes) {
    std::byte* next = memory_ + first;
    parts_.emplace_back();
    for (const Tensor& tensor : tensors) {
      fill(tensor, next, ++stream_id);
      parts_.back().push_back(next);
      next += padded(tensor.bytes());
    }
  }
  check_cuda(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
}

Rotation::~Rotation() {
  cudaFree(memory_);
}

double copy_rate() {
  static const double rate = measure_copy_rate();
  return rate;
}

void time_calls(benchmark::State& state,
                std::int64_t num_calls,
                const std::function<void(std::int64_t call)>& run) {
  const auto run_all = [&] {
    for (std::int64_t call = 0; call < num_calls; ++call) {
      run(call);
    }
  };
  const Event begin;
  const Event end;
  run_all();
  check_cuda(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
  for (auto _ : state) {
    begin.record();
    run_all();
    end.record();
    state.SetIterationTime(end.seconds_since(begin) / static_cast<double>(num_calls));
  }
}

void report_bytes(benchmark::State& state, double bytes) {
  const double moved = bytes * static_cast<double>(state.iterations());
  state.counters["MB"] = bytes * 1e-6;
  state.counters["GB/s"] = benchmark::Counter(moved * 1e-9, benchmark::Counter::kIsRate);
  state.counters["of_copy"] = benchmark::Counter(moved / copy_rate(), benchmark::Counter::kIsRate);
}

void register_memory_bound(const std::string& name, const Work& work, const Work& small) {
  benchmark::RegisterBenchmark(name.c_str(),
                               [work, small](benchmark::State& state) {
                                 const std::int64_t wrong = count_wrong(small);
                                 static_cast<void>(copy_rate());
                                 const Rotation rotation(work.tensors);
                                 time_calls(state, rotation.num_parts(), [&](std::int64_t call) {
                                   work.run(rotation.part(call), nullptr);
                                 });
                                 report_bytes(state, work.bytes);
                                 state.counters["#wrong"] = static_cast<double>(wrong);
                               })
      ->UseManualTime()
      ->Iterations(kNumIterations)
      ->Unit(benchmark::kMicrosecond);
}

}  // namespace runflat::bench

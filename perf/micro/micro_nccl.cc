// What the NCCL boundary adds to a call: the same calls through it and without it, on one rank,
// where nothing else takes time.

#include <benchmark/benchmark.h>

#include <memory>
#include <span>

#include "gossamer/communicator.h"
#include "gossamer/group.h"
#include "nccl/nccl.h"

namespace {

// Ends the run with the library's own sentence when a call fails.
bool succeeded(benchmark::State& state, ncclResult_t result) {
  if (result == ncclSuccess) return true;
  state.SkipWithError(ncclGetLastError(nullptr));
  return false;
}
bool succeeded(benchmark::State& state, const gossamer::Status& status) {
  if (status) return true;
  state.SkipWithError(status.message().c_str());
  return false;
}

std::unique_ptr<gossamer::Communicator> native(benchmark::State& state) {
  gossamer::Communicator::Options options;
  options.rank = 0;
  options.size = 1;
  auto made = gossamer::Communicator::create(options);
  return succeeded(state, made.status()) ? std::move(made).value() : nullptr;
}

void native_call(benchmark::State& state) {
  const auto comm = native(state);
  float x = 1;
  for (auto _ : state) {
    if (!succeeded(state, comm->all_reduce(&x, &x, 1, gossamer::DataType::kFloat32,
                                           gossamer::ReduceOp::kSum))) {
      break;
    }
  }
}
BENCHMARK(native_call);

void nccl_call(benchmark::State& state) {
  ncclComm_t comm = nullptr;
  if (!succeeded(state, ncclCommInitAll(&comm, 1, nullptr))) return;
  float x = 1;
  for (auto _ : state) {
    if (!succeeded(state, ncclAllReduce(&x, &x, 1, ncclFloat, ncclSum, comm, nullptr))) break;
  }
  succeeded(state, ncclCommDestroy(comm));
}
BENCHMARK(nccl_call);

void native_group(benchmark::State& state) {
  const auto comm = native(state);
  float x = 1;
  for (auto _ : state) {
    gossamer::Status status = gossamer::group_start();
    for (int i = 0; i < 8 && status; ++i) {
      status = comm->all_reduce(&x, &x, 1, gossamer::DataType::kFloat32, gossamer::ReduceOp::kSum);
    }
    if (status) status = gossamer::group_end();
    if (!succeeded(state, status)) break;
  }
}
BENCHMARK(native_group);

void nccl_group(benchmark::State& state) {
  ncclComm_t comm = nullptr;
  if (!succeeded(state, ncclCommInitAll(&comm, 1, nullptr))) return;
  float x = 1;
  for (auto _ : state) {
    ncclResult_t result = ncclGroupStart();
    for (int i = 0; i < 8 && result == ncclSuccess; ++i) {
      result = ncclAllReduce(&x, &x, 1, ncclFloat, ncclSum, comm, nullptr);
    }
    if (result == ncclSuccess) result = ncclGroupEnd();
    if (!succeeded(state, result)) break;
  }
  succeeded(state, ncclCommDestroy(comm));
}
BENCHMARK(nccl_group);

}  // namespace

BENCHMARK_MAIN();

// Element kernels against memcpy of the same bytes.
//
//   micro_reduce --benchmark_filter=float32/sum --benchmark_repetitions=5
//
// Units      GB/s counts what a fold reads and writes (three times the vector), and for memcpy what
//            it reads and writes (twice), so that equal figures mean equal use of the memory port.

#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <initializer_list>
#include <new>
#include <string>

#include "gossamer/types.h"
#include "src/reduce.h"

namespace gossamer {
namespace {

// Bytes at a chosen distance from a cache line: 16 is what malloc returns for large blocks.
class Block {
 public:
  explicit Block(uint64_t bytes, uint64_t offset = 0) : offset_(offset) {
    memory_ = static_cast<std::byte*>(::operator new (bytes + offset + 64, std::align_val_t{4096}));
    std::memset(memory_, 0, bytes + offset + 64);
  }
  ~Block() { ::operator delete (memory_, std::align_val_t{4096}); }
  Block(const Block&) = delete;
  Block& operator=(const Block&) = delete;
  std::byte* data() const { return memory_ + offset_; }

 private:
  std::byte* memory_;
  uint64_t offset_;
};

void fold(benchmark::State& state, FoldKernel kernel, uint64_t target_size, uint64_t arrived_size,
          uint64_t offset) {
  const auto count = static_cast<uint64_t>(state.range(0)) / target_size;
  const Block target(count * target_size, offset);
  const Block arrived(count * arrived_size);
  for (auto _ : state) {
    kernel(target.data(), target.data(), arrived.data(), count);
    benchmark::ClobberMemory();
  }
  state.SetBytesProcessed(state.iterations() *
                          static_cast<int64_t>(count * (2 * target_size + arrived_size)));
}

void copy(benchmark::State& state, void (*function)(std::byte*, const std::byte*, uint64_t)) {
  const auto bytes = static_cast<uint64_t>(state.range(0));
  const Block target(bytes);
  const Block from(bytes);
  for (auto _ : state) {
    function(target.data(), from.data(), bytes);
    benchmark::ClobberMemory();
  }
  state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(2 * bytes));
}

void plain_copy(std::byte* target, const std::byte* from, uint64_t bytes) {
  std::memcpy(target, from, bytes);
}

void streaming_copy(std::byte* target, const std::byte* from, uint64_t bytes) {
  stream_copy(target, from, bytes);
}

void sizes(benchmark::internal::Benchmark* benchmark, std::initializer_list<int64_t> list) {
  for (const int64_t bytes : list) benchmark->Arg(bytes);
}

void list_benchmarks() {
  sizes(benchmark::RegisterBenchmark("memcpy", copy, plain_copy),
        {8, 64, 1024, 16384, 262144, 4 << 20, 64 << 20});
  sizes(benchmark::RegisterBenchmark("stream_copy", copy, streaming_copy),
        {8, 64, 1024, 16384, 262144, 4 << 20, 64 << 20});
  for (int t = 0; t < kDataTypeCount; ++t) {
    const auto type = static_cast<DataType>(t);
    for (const ReduceOp op : {ReduceOp::kSum, ReduceOp::kProd, ReduceOp::kMax, ReduceOp::kMin}) {
      const std::string name = std::string(name_of(type)) + "/" + std::string(name_of(op));
      const uint64_t size = size_of(type);
      auto* const plain = benchmark::RegisterBenchmark(name.c_str(), [=](benchmark::State& s) {
        fold(s, fold_kernel(type, op), size, size, 0);
      });
      sizes(plain, {8, 64, 1024, 8192, 262144, 64 << 20});
      auto* const unaligned = benchmark::RegisterBenchmark(
          (name + "/offset16").c_str(),
          [=](benchmark::State& s) { fold(s, fold_kernel(type, op), size, size, 16); });
      sizes(unaligned, {1024, 8192, 262144});
      if (fold_wide_kernel(type, op) == nullptr) continue;
      auto* const wide = benchmark::RegisterBenchmark(
          (name + "/wide").c_str(),
          [=](benchmark::State& s) { fold(s, fold_wide_kernel(type, op), 4, size, 0); });
      sizes(wide, {8, 8192, 262144});
    }
  }
}

}  // namespace
}  // namespace gossamer

int main(int argc, char** argv) {
  gossamer::list_benchmarks();
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}

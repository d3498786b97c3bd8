// Sparse codecs: how fast they are on Gaussian values.
//
//   micro_sparse --benchmark_filter=topk --benchmark_repetitions=5
//
// Units      GB/s counts the bytes of the values that are encoded, or decoded into. memcpy is for
//            comparison and counts what it copies, once.

#include <benchmark/benchmark.h>

#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "gossamer/codec.h"

namespace gossamer {
namespace {

std::vector<float> gaussian(uint64_t count) {
  std::mt19937_64 generator(1);
  std::normal_distribution<float> normal;
  std::vector<float> values(count);
  for (float& value : values) value = normal(generator);
  return values;
}

void encode(benchmark::State& state, const std::string& text) {
  const auto codec = make_codec(text).value();
  const std::vector<float> values = gaussian(static_cast<uint64_t>(state.range(0)) / 4);
  std::vector<std::byte> code(codec->bytes_max(values.size()));
  std::vector<std::byte> workspace(codec->workspace_bytes(values.size()));
  Draws draws;
  for (auto _ : state) {
    ++draws.shared;
    benchmark::DoNotOptimize(codec->encode(values, draws, code, workspace));
    benchmark::ClobberMemory();
  }
  state.SetBytesProcessed(state.iterations() * state.range(0));
}

void decode(benchmark::State& state, const std::string& text, bool add) {
  const auto codec = make_codec(text).value();
  std::vector<float> values = gaussian(static_cast<uint64_t>(state.range(0)) / 4);
  std::vector<std::byte> code(codec->bytes_max(values.size()));
  std::vector<std::byte> workspace(codec->workspace_bytes(values.size()));
  code.resize(codec->encode(values, {}, code, workspace).bytes);
  for (auto _ : state) {
    if (add) {
      codec->add(code, 0.25F, values);
    } else {
      codec->decode(code, values);
    }
    benchmark::ClobberMemory();
  }
  state.SetBytesProcessed(state.iterations() * state.range(0));
}

void copy(benchmark::State& state) {
  const std::vector<float> from = gaussian(static_cast<uint64_t>(state.range(0)) / 4);
  std::vector<float> to(from.size());
  for (auto _ : state) {
    std::memcpy(to.data(), from.data(), from.size() * 4);
    benchmark::ClobberMemory();
  }
  state.SetBytesProcessed(state.iterations() * state.range(0));
}

void list_benchmarks() {
  constexpr int64_t kBytes[] = {1 << 20, 16 << 20, 64 << 20};
  auto* const memcpy_speed = benchmark::RegisterBenchmark("memcpy", copy);
  for (const int64_t bytes : kBytes) memcpy_speed->Arg(bytes);
  for (const char* text :
       {"topk:ratio=0.01", "topk:ratio=0.001", "topk:ratio=0.1", "topk:ratio=0.01,select=exact",
        "topk:ratio=0.01,index=u16", "topk:ratio=0.01,index=bitpack", "topk:ratio=0.01,index=elias",
        "topk:ratio=0.01,index=rice", "topk:ratio=0.001,index=rice", "threshold:least=2.5758",
        "randomk:ratio=0.01"}) {
    const std::string name(text);
    auto* const encoding = benchmark::RegisterBenchmark(
        (name + "/encode").c_str(), [=](benchmark::State& state) { encode(state, name); });
    auto* const decoding = benchmark::RegisterBenchmark(
        (name + "/decode").c_str(), [=](benchmark::State& state) { decode(state, name, false); });
    auto* const adding = benchmark::RegisterBenchmark(
        (name + "/add").c_str(), [=](benchmark::State& state) { decode(state, name, true); });
    for (const int64_t bytes : kBytes) {
      encoding->Arg(bytes);
      decoding->Arg(bytes);
      adding->Arg(bytes);
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

// Codecs against memcpy of the same 16 MiB of fp32, turn by turn in one run: medians, and how many
// times memcpy's speed they have.
//
//   micro_codec [codec...]
//
// Units      GB/s of fp32, whatever is written: memcpy's figure is the bytes it copies, a codec's
//            those of the elements that it encodes or decodes. memcpy reads and writes that much; a
//            codec reads or writes as much and its code, so it may well be faster.

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "gossamer/codec.h"

namespace gossamer {
namespace {

constexpr uint64_t kCount = uint64_t{4} << 20;
constexpr int kTurns = 31;

double seconds(const std::function<void()>& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

double median(std::vector<double>& values) {
  std::nth_element(values.begin(), values.begin() + kTurns / 2, values.end());
  return values[kTurns / 2];
}

struct Row {
  std::string what;
  std::function<void()> work;
  std::vector<double> times = {};
};

void measure(const Codec& codec, const std::vector<float>& values) {
  std::vector<float> copy(values.size(), 1.0F);
  std::vector<float> back(values.size(), 1.0F);
  std::vector<std::byte> code(codec.bytes_max(values.size()));
  std::vector<std::byte> workspace(codec.workspace_bytes(values.size()));
  uint64_t bytes = codec.encode(values, {}, code, workspace).bytes;
  std::vector<Row> rows;
  rows.push_back({"memcpy", [&] {
                    std::memcpy(copy.data(), values.data(), values.size() * sizeof(float));
                    asm volatile("" : : "r"(copy.data()) : "memory");
                  }});
  rows.push_back({"encode", [&] { bytes = codec.encode(values, {}, code, workspace).bytes; }});
  rows.push_back({"decode", [&] { codec.decode(std::span(code).first(bytes), back); }});
  rows.push_back({"add", [&] { codec.add(std::span(code).first(bytes), 0.5F, back); }});
  for (int turn = -2; turn < kTurns; ++turn) {
    for (Row& row : rows) {
      const double time = seconds(row.work);
      if (turn >= 0) row.times.push_back(time);
    }
  }
  const double memcpy_time = median(rows[0].times);
  std::printf("%-44s", codec.name().c_str());
  for (Row& row : rows) {
    const double time = median(row.times);
    std::printf("  %s %5.2f GB/s", row.what.c_str(), kCount * sizeof(float) / time * 1e-9);
    if (&row != rows.data()) std::printf(" (%.2f)", memcpy_time / time);
  }
  std::printf("\n");
}

}  // namespace
}  // namespace gossamer

int main(int argc, char** argv) {
  std::vector<std::string> texts(argv + 1, argv + argc);
  if (texts.empty()) {
    for (const gossamer::CodecInfo& info : gossamer::codecs()) texts.emplace_back(info.name);
  }
  std::vector<float> values(gossamer::kCount);
  std::mt19937 generator(1);
  std::normal_distribution<float> normal;
  for (float& value : values) value = normal(generator);
  for (const std::string& text : texts) {
    const auto codec = gossamer::make_codec(text);
    if (!codec) {
      std::fprintf(stderr, "%s\n", codec.status().message().c_str());
      return 1;
    }
    gossamer::measure(**codec, values);
  }
  return 0;
}

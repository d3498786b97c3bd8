// Codecs and runs for tests: every codec that is registered, with its defaults and with what makes
// it do something else, and values that are easy or awkward to encode.

#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "gossamer/codec.h"

namespace gossamer {

inline std::vector<std::string> some_codecs() {
  std::vector<std::string> texts;
  for (const CodecInfo& info : codecs()) texts.emplace_back(info.name);
  for (const char* text : {"fp8_e4m3:block=0",
                           "fp8_e5m2:block=33",
                           "int8:block=0",
                           "int8:block=100",
                           "int8:mode=minmax",
                           "int8:rounding=stochastic",
                           "int8:block=77,rounding=stochastic",
                           "int8:mode=minmax,rounding=stochastic",
                           "int4:block=0",
                           "int4:block=31",
                           "int4:mode=minmax",
                           "int4:rounding=stochastic",
                           "int4:block=33,mode=minmax,rounding=stochastic",
                           "qsgd:levels=1",
                           "qsgd:levels=2",
                           "qsgd:levels=5,block=100",
                           "qsgd:levels=15",
                           "qsgd:levels=31",
                           "qsgd:levels=60",
                           "qsgd:levels=127,block=0",
                           "mxfp8:beyond=raise",
                           "mxfp6:beyond=raise",
                           "mxfp6:number=e3m2",
                           "mxfp6:number=e3m2,beyond=raise",
                           "mxfp4:beyond=raise",
                           "natural:bits=8",
                           "terngrad:block=0",
                           "terngrad:block=33,clip=2.5",
                           "terngrad:clip=0.5",
                           "sign:block=0",
                           "sign:block=9",
                           "one_bit:column=0",
                           "one_bit:column=17",
                           "two_bit:levels=fixed",
                           "two_bit:threshold=1,block=0",
                           "two_bit:block=5",
                           "topk:ratio=0.05,index=u16",
                           "topk:ratio=0.05,index=bitpack,select=exact",
                           "topk:ratio=0.05,index=elias",
                           "topk:ratio=0.3,index=rice",
                           "randomk:ratio=0.1,scale=unbiased",
                           "threshold:least=1,index=u32",
                           "block_sparse:ratio=0.3,block=64",
                           "block_sparse:ratio=1,block=33",
                           "block_sparse:ratio=0.9,block=1",
                           "int8_shared:block=0",
                           "int8_shared:block=33,levels=7",
                           "int8_shared:levels=1,rounding=stochastic",
                           "thc:bits=2,block=64",
                           "thc:bits=3,block=4096",
                           "dct:dims=1,chunk=32,keep=4",
                           "dct:chunk=5,keep=25,mean=senders",
                           "count_sketch:rows=1,ratio=1,keep=0.1",
                           "count_sketch:rows=9,ratio=0.5,keep=1",
                           "zstd:of=topk:ratio=0.1;index=u32,level=3",
                           "zstd:of=fp16"}) {
    texts.emplace_back(text);
  }
  return texts;
}

// For the names of parametrised tests.
inline std::string test_name(const testing::TestParamInfo<std::string>& info) {
  std::string name = info.param;
  for (char& c : name) {
    if (std::isalnum(static_cast<unsigned char>(c)) == 0) c = '_';
  }
  return name;
}

inline std::unique_ptr<Codec> codec_of(const std::string& text) {
  Result<std::unique_ptr<Codec>> made = make_codec(text);
  EXPECT_TRUE(made) << made.status().to_string();
  return std::move(made).value();
}

// Casts pass on what is not finite.
inline bool is_cast(const std::string& text) {
  return text.starts_with("fp16") || text.starts_with("bf16") || text.starts_with("fp8") ||
         text == "zstd:of=fp16";
}

inline std::vector<float> gaussian(size_t count, uint32_t seed = 1) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(count);
  for (float& value : values) value = normal(generator);
  return values;
}

inline std::vector<float> laplace(size_t count, uint32_t seed = 1) {
  std::mt19937 generator(seed);
  std::exponential_distribution<float> exponential;
  std::vector<float> values(count);
  for (float& value : values) {
    value = exponential(generator);
    if (generator() % 2 == 0) value = -value;
  }
  return values;
}

// A code between bytes that must stay as they are, at an address that is aligned to nothing.
class Encoding {
 public:
  Encoding(const Codec& codec, std::span<const float> values, const Draws& draws = {},
           size_t offset = 1, std::byte fill = std::byte{0xa5})
      : offset_(offset), room_(codec.bytes_max(values.size())), memory_(offset + room_ + 64, fill) {
    std::vector<std::byte> workspace(codec.workspace_bytes(values.size()) + 1, fill);
    made_ = codec.encode(values, draws, std::span(memory_).subspan(offset, room_),
                         std::span(workspace).subspan(1));
    EXPECT_LE(made_.bytes, room_);
    for (size_t i = 0; i < memory_.size(); ++i) {
      if (i >= offset && i < offset + room_) continue;
      EXPECT_EQ(memory_[i], fill) << "byte " << i << " is outside of the code";
    }
  }
  std::span<const std::byte> code() const {
    return std::span(memory_).subspan(offset_, made_.bytes);
  }
  std::vector<std::byte> bytes() const { return {code().begin(), code().end()}; }
  uint64_t not_finite() const { return made_.not_finite; }

 private:
  size_t offset_;
  size_t room_;
  std::vector<std::byte> memory_;
  Encoded made_;
};

inline std::vector<float> decoded(const Codec& codec, std::span<const std::byte> code,
                                  size_t count) {
  std::vector<float> values(count, std::nanf(""));
  codec.decode(code, values);
  return values;
}

inline std::vector<float> round_trip(const Codec& codec, std::span<const float> values,
                                     const Draws& draws = {}) {
  const Encoding encoding(codec, values, draws);
  return decoded(codec, encoding.code(), values.size());
}

inline double squared_norm(std::span<const float> values) {
  double sum = 0;
  for (const float value : values) sum += static_cast<double>(value) * static_cast<double>(value);
  return sum;
}

inline double squared_distance(std::span<const float> a, std::span<const float> b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const double error = static_cast<double>(a[i]) - static_cast<double>(b[i]);
    sum += error * error;
  }
  return sum;
}

}  // namespace gossamer

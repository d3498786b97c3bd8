// Compressed collectives against a serial reference that applies the same codec to the same runs.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "gossamer/compression.h"
#include "gossamer/schedule.h"
#include "src/reduce.h"
#include "src/reduce_double.h"

namespace gossamer {

using Floats = std::vector<float>;

inline std::unique_ptr<Codec> codec_named(const std::string& text) {
  auto made = make_codec(text);
  EXPECT_TRUE(made) << made.status().to_string();
  return made ? std::move(*made) : nullptr;
}

// Normal, by the sum of twelve, the same for the same arguments.
inline Floats normal(uint64_t seed, uint64_t count) {
  Floats values(count);
  uint64_t state = seed << 40;
  for (float& value : values) {
    double sum = -6;
    for (int i = 0; i < 12; ++i) {  // SplitMix64
      uint64_t x = state += 0x9E3779B97F4A7C15U;
      x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9U;
      x = (x ^ (x >> 27)) * 0x94D049BB133111EBU;
      sum += static_cast<double>((x ^ (x >> 31)) >> 11) * 0x1p-53;
    }
    value = static_cast<float>(sum);
  }
  return values;
}

// --- elements of any float type ------------------------------------------------------------------

inline std::vector<std::byte> elements_of(DataType type, const Floats& values) {
  std::vector<std::byte> bytes(values.size() * size_of(type));
  for (size_t i = 0; i < values.size(); ++i) {
    std::byte* const at = bytes.data() + i * size_of(type);
    if (is_narrow_float(type)) {
      narrow_one(type, values[i], at);
    } else if (type == DataType::kFloat64) {
      const auto wide = static_cast<double>(values[i]);
      std::memcpy(at, &wide, sizeof(wide));
    } else {
      std::memcpy(at, &values[i], sizeof(float));
    }
  }
  return bytes;
}

inline Floats floats_of(DataType type, const std::vector<std::byte>& bytes) {
  Floats values(bytes.size() / size_of(type));
  for (size_t i = 0; i < values.size(); ++i) {
    const std::byte* const at = bytes.data() + i * size_of(type);
    if (is_narrow_float(type)) {
      values[i] = widen_one(type, at);
    } else if (type == DataType::kFloat64) {
      double wide = 0;
      std::memcpy(&wide, at, sizeof(wide));
      values[i] = static_cast<float>(wide);
    } else {
      std::memcpy(&values[i], at, sizeof(float));
    }
  }
  return values;
}

// --- the reference -------------------------------------------------------------------------------

// Inputs as the type holds them, of all ranks.
inline std::vector<Floats> inputs_of(DataType type, Rank size, uint64_t count) {
  std::vector<Floats> inputs;
  for (Rank r = 0; r < size; ++r) {
    const Floats exact = normal(static_cast<uint64_t>(r) + 1, count);
    inputs.push_back(floats_of(type, elements_of(type, exact)));
  }
  return inputs;
}

// What a codec that draws nothing leaves of a run.
inline Floats decoded(const Codec& codec, std::span<const float> values) {
  if (values.empty()) return {};
  std::vector<std::byte> code(codec.bytes_max(values.size()));
  std::vector<std::byte> workspace(codec.workspace_bytes(values.size()));
  (void)codec.encode(values, {}, code, workspace);
  Floats back(values.size());
  codec.decode(code, back);
  return back;
}

struct Reference {
  const Codec& codec;
  DataType type;
  bool average;
  Rank size;
  uint32_t pieces = 1;

  uint64_t granule() const {
    return std::lcm(std::max<uint64_t>(1, 64 / size_of(type)), codec.block());
  }
  Slice block_of(uint64_t count, Rank parts, Rank index) const {
    Shape shape;
    shape.size = parts;
    shape.count = count;
    shape.granule = granule();
    return shape.block(index);
  }
  float final_of(float sum) const { return average ? sum / static_cast<float>(size) : sum; }

  // Calls use(first, count) for the parts that are encoded one by one.
  template <class Use>
  void for_each_block(uint64_t count, bool in_blocks, Use use) const {
    for (uint32_t p = 0; p < pieces; ++p) {
      const Slice piece = block_of(count, static_cast<Rank>(pieces), static_cast<Rank>(p));
      for (Rank j = 0; j < (in_blocks ? size : 1); ++j) {
        Slice block = in_blocks ? block_of(piece.count, size, j) : Slice{{}, 0, piece.count};
        use(piece.first + block.first, block.count, j);
      }
    }
  }

  // The result of an all-reduce, or at the root of a reduce, in the type.
  std::vector<std::byte> all_reduce(const std::string& algorithm, const std::vector<Floats>& inputs,
                                    Rank root = -1) const {
    if (size == 1) return elements_of(type, inputs[0]);
    const uint64_t count = inputs[0].size();
    std::vector<std::byte> result(count * size_of(type));
    const bool whole = algorithm == "coded_one_shot" || algorithm == "coded_direct_reduce";
    for_each_block(count, !whole, [&](uint64_t first, uint64_t length, Rank owner) {
      if (length == 0) return;
      const auto part = [&](Rank r) {
        return std::span(inputs[static_cast<size_t>(r)]).subspan(first, length);
      };
      Floats sum(length);
      if (algorithm == "coded_ring") {
        sum.assign(part(owner).begin(), part(owner).end());
        for (Rank i = 1; i < size; ++i) {
          sum = added(decoded(codec, sum), part((owner + i) % size));
        }
      } else {
        sum = decoded(codec, part(0));
        for (Rank r = 1; r < size; ++r) sum = added(sum, decoded(codec, part(r)));
      }
      // The root encodes no sum of its own: nobody else needs it.
      finish(owner == root ? "coded_direct_reduce" : algorithm, sum,
             result.data() + first * size_of(type));
    });
    return result;
  }

  static Floats added(Floats sum, std::span<const float> more) {
    for (size_t i = 0; i < sum.size(); ++i) sum[i] += more[i];
    return sum;
  }

  void finish(const std::string& algorithm, Floats sum, std::byte* into) const {
    const bool again = algorithm == "coded_two_shot" || algorithm == "coded_ring" ||
                       algorithm == "coded_two_shot_reduce";
    if (!again) return settle(sum, into);
    for (float& x : sum) x = final_of(x);
    const auto elements = elements_of(type, decoded(codec, sum));
    std::memcpy(into, elements.data(), elements.size());
  }

  // Divides and rounds once.
  void settle(const Floats& sum, std::byte* into) const {
    const auto* const from = reinterpret_cast<const std::byte*>(sum.data());
    if (!average) {
      const auto elements = elements_of(type, sum);
      std::memcpy(into, elements.data(), elements.size());
    } else if (type == DataType::kFloat64) {
      double_of_float_divided(into, from, sum.size(), size);
    } else if (type == DataType::kFloat32) {
      divide_kernel(type)(into, from, sum.size(), size);
    } else {
      narrow_divide_kernel(type)(into, from, sum.size(), size);
    }
  }

  // Rank `rank`'s share of the sum; count is of a share.
  std::vector<std::byte> reduce_scatter(const std::vector<Floats>& inputs, Rank rank,
                                        uint64_t count) const {
    std::vector<std::byte> result(count * size_of(type));
    for_each_block(count, false, [&](uint64_t first, uint64_t length, Rank) {
      if (length == 0) return;
      const auto part = [&](Rank r) {
        return std::span(inputs[static_cast<size_t>(r)])
            .subspan(static_cast<uint64_t>(rank) * count + first, length);
      };
      Floats sum = decoded(codec, part(0));
      for (Rank r = 1; r < size; ++r) sum = added(sum, decoded(codec, part(r)));
      finish("coded_reduce_scatter", sum, result.data() + first * size_of(type));
    });
    return result;
  }

  // What the codes of an input, or of a share of one, decode to.
  std::vector<std::byte> copy(std::span<const float> input, bool in_blocks = false) const {
    Floats copied(input.size());
    for_each_block(input.size(), in_blocks, [&](uint64_t first, uint64_t length, Rank) {
      const Floats part = decoded(codec, input.subspan(first, length));
      std::copy(part.begin(), part.end(), copied.begin() + static_cast<ptrdiff_t>(first));
    });
    return elements_of(type, copied);
  }

  std::vector<std::byte> all_gather(const std::vector<Floats>& inputs) const {
    std::vector<std::byte> result;
    for (const Floats& input : inputs) {
      const auto bytes = copy(input);
      result.insert(result.end(), bytes.begin(), bytes.end());
    }
    return result;
  }
};

}  // namespace gossamer

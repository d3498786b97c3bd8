#include "src/compress/block_codec.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "src/check.h"

namespace gossamer {
namespace {

Status check_numbers(std::span<const std::byte> code, uint64_t count, const BlockLayout& layout) {
  if (layout.numbers == 0) return Status::ok();
  const std::byte* at = code.data();
  for (uint64_t b = 0, first = 0; first < count; ++b, first += layout.block) {
    for (uint64_t k = 0; k < layout.numbers; ++k) {
      float number = 0;
      std::memcpy(&number, at + k * sizeof number, sizeof number);
      const bool is_scale = k + 1 == layout.numbers;
      if (!std::isfinite(number) || (is_scale && number < 0)) {
        return Status::error(Code::kMismatch,
                             fmt::format("number {} of block {} is {}, which no encoder writes; "
                                         "the code is damaged",
                                         k, b, number));
      }
    }
    at += layout.of_block(std::min(layout.block, count - first));
  }
  return Status::ok();
}

}  // namespace

Status check_blocks(const Codec& codec, std::span<const std::byte> code, uint64_t count,
                    const BlockLayout& layout) {
  Status sound = check_length(codec, code.size(), layout.bytes(count), count);
  return sound ? check_numbers(code, count, layout) : sound;
}

CodecTraits BlockCodec::traits() const {
  CodecTraits traits;
  traits.joins = block_ > 0;
  return traits;
}

Encoded BlockCodec::encode(std::span<const float> values, const Draws& draws,
                           std::span<std::byte> code, std::span<std::byte> /*workspace*/) const {
  const BlockLayout shape = layout(values.size());
  const uint64_t bytes = shape.bytes(values.size());
  GOSSAMER_CHECK(code.size() >= bytes);
  if (values.empty()) return {};
  return {bytes, encode_run(shape, values, draws, code.data())};
}

Status BlockCodec::check(std::span<const std::byte> code, uint64_t count) const {
  return check_blocks(*this, code, count, layout(count));
}

void BlockCodec::decode(std::span<const std::byte> code, std::span<float> into) const {
  const BlockLayout shape = layout(into.size());
  if (into.empty() || code.size() != shape.bytes(into.size())) return;
  decode_run(shape, code.data(), into);
}

void BlockCodec::add(std::span<const std::byte> code, float factor, std::span<float> into) const {
  const BlockLayout shape = layout(into.size());
  if (into.empty() || code.size() != shape.bytes(into.size())) return;
  add_run(shape, code.data(), factor, into);
}

}  // namespace gossamer

// Codes from the wire: whatever the bytes, check() answers, and what it accepts is decoded and
// added inside of the run, adding being decoding and two roundings. The same of sums of codes, and
// of codes that are added to sums. And texts that ask for codecs.
//
// Input: the length of the text, the text ("int8:block=64"), 2 bytes of count, a byte that says
// whether the rest is brought to the longest length of a code or sum, and in its upper bits whose
// sum it is, the rest.

#include <algorithm>
#include <cmath>
#include <memory>
#include <vector>

#include "gossamer/code_sums.h"
#include "gossamer/codec.h"
#include "tests/fuzz/fuzz.h"

namespace gossamer {
namespace {

constexpr size_t kAround = 16;
constexpr float kMark = 7;

std::vector<float> marked(size_t count) {
  return std::vector<float>(count + 2 * kAround, kMark);
}
std::span<float> inside(std::vector<float>& values) {
  return std::span(values).subspan(kAround, values.size() - 2 * kAround);
}
void expect_marks(const std::vector<float>& values) {
  for (size_t i = 0; i < kAround; ++i) {
    FUZZ_EXPECT(values[i] == kMark && values[values.size() - 1 - i] == kMark);
  }
}

void decode_hostile(const Codec& codec, std::span<const std::byte> code, size_t count) {
  const bool sound = codec.check(code, count).is_ok();
  if (sound) FUZZ_EXPECT(code.size() <= codec.bytes_max(count));
  std::vector<float> decoded = marked(count);
  codec.decode(code, inside(decoded));
  expect_marks(decoded);
  std::vector<float> sum = marked(count);
  codec.add(code, 0.3F, inside(sum));
  expect_marks(sum);
  if (!sound) return;
  for (size_t i = kAround; i < kAround + count; ++i) {
    const volatile float product = 0.3F * decoded[i];
    const float expected = kMark + product;
    FUZZ_EXPECT(sum[i] == expected || (std::isnan(sum[i]) && std::isnan(expected)));
  }
}

// The bytes as a sum of the codes of `ranks` ranks, and as a code that is added to itself.
void sum_hostile(const Codec& codec, std::span<const std::byte> bytes, bool padded, size_t count,
                 uint32_t ranks) {
  const CodeSums& sums = *codec.sums();
  std::vector<std::byte> sum(bytes.begin(), bytes.end());
  if (padded) sum.resize(sums.sum_bytes(count, ranks));
  const bool sound = sums.check_sum(sum, count, ranks).is_ok();
  if (sound) FUZZ_EXPECT(sum.size() == sums.sum_bytes(count, ranks));
  std::vector<float> decoded = marked(count);
  sums.decode_sum(sum, ranks, inside(decoded));
  expect_marks(decoded);
  for (size_t i = 0; sound && i < count; ++i) FUZZ_EXPECT(!std::isnan(decoded[kAround + i]));
  std::vector<std::byte> code(bytes.begin(), bytes.end());
  if (padded) code.resize(codec.bytes_max(count));
  if (!codec.check(code, count)) return;
  sum.assign(sums.sum_bytes(count, ranks), std::byte{0xa5});
  sums.begin_sum(code, count, ranks, sum);
  for (uint32_t rank = 1; rank < std::min(ranks, 4U); ++rank) {
    FUZZ_EXPECT(sums.add_code(code, count, ranks, sum).is_ok());
  }
  if (sums.check_sum(sum, count, ranks)) sums.decode_sum(sum, ranks, inside(decoded));
  expect_marks(decoded);
}

}  // namespace
}  // namespace gossamer

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t bytes) {
  gossamer::FuzzInput input(data, bytes);
  const size_t length = input.byte();
  const std::span<const std::byte> text = input.take(length);
  const auto codec =
      gossamer::make_codec({reinterpret_cast<const char*>(text.data()), text.size()});
  if (!codec) {
    FUZZ_EXPECT(!codec.status().message().empty());
    return 0;
  }
  const size_t count = (input.byte() | size_t{input.byte()} << 8) % 3000;
  const uint8_t form = input.byte();
  const bool padded = form % 2 != 0;
  // Exactly as long as the code: the address sanitizer sees a byte too far.
  const std::span<const std::byte> rest = input.rest();
  std::vector<std::byte> code(rest.begin(), rest.end());
  if (padded) code.resize((*codec)->bytes_max(count));
  gossamer::decode_hostile(**codec, code, count);
  const uint32_t ranks = 1 + form / 2;
  if ((*codec)->sums() != nullptr) gossamer::sum_hostile(**codec, rest, padded, count, ranks);
  return 0;
}

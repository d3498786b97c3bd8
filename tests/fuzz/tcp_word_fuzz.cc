// Word of a failure as it arrives on a tcp connection: raw bytes are refused unless the group's key
// signed them; signed nonsense gives a fault with a rank of the group and terminated text, or
// nothing.
//
// Input: one byte that says whether to sign what follows, then the word.

#include <algorithm>

#include "src/auth.h"
#include "tests/fuzz/fuzz.h"
#include "transports/tcp/word.h"

namespace gossamer::tcp {
namespace {

void run(gossamer::FuzzInput* input) {
  TransportConfig config;
  config.rank = 1;
  config.size = 5;
  config.session = 7;
  const bool sign = (input->byte() & 1) != 0;
  const std::span<const std::byte> bytes = input->rest();
  Word word{};
  std::copy_n(bytes.begin(), std::min(bytes.size(), word.size()), word.begin());
  if (bytes.size() >= kWordMagicBytes) (void)begins_word(bytes.first(kWordMagicBytes));
  if (sign) {
    const size_t body = word.size() - config.key.size();
    const Key proof = hmac_sha256(config.key, std::span<const std::byte>(word).first(body));
    std::copy(proof.begin(), proof.end(), word.begin() + static_cast<ptrdiff_t>(body));
  }
  Fault fault;
  if (!read_word(config, word, &fault)) return;
  FUZZ_EXPECT(sign);
  FUZZ_EXPECT(fault.code >= Code::kInvalidArgument && fault.code <= Code::kSystem);
  FUZZ_EXPECT(fault.rank >= -1 && fault.rank < config.size);
  FUZZ_EXPECT(fault.text.back() == '\0');
}

}  // namespace
}  // namespace gossamer::tcp

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t bytes) {
  gossamer::FuzzInput input(data, bytes);
  gossamer::tcp::run(&input);
  return 0;
}

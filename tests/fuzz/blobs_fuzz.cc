// Blobs of one round of the bootstrap's all-gather: exactly as many as expected, none too long, and
// encoding them gives the body again.
//
// Input: how many, then the body.

#include "src/bootstrap.h"
#include "src/messages.h"
#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t bytes) {
  gossamer::FuzzInput input(data, bytes);
  const size_t count = input.byte();
  const std::span<const std::byte> body = input.rest();
  const auto blobs = gossamer::parse_blobs(body, count);
  if (blobs) {
    FUZZ_EXPECT(blobs->size() == count);
    for (const std::string& blob : *blobs) {
      FUZZ_EXPECT(blob.size() <= gossamer::kBlobBytesMax);
    }
    const std::vector<std::byte> again = gossamer::encode_blobs(*blobs);
    FUZZ_EXPECT(std::equal(again.begin(), again.end(), body.begin(), body.end()));
  }
  return 0;
}

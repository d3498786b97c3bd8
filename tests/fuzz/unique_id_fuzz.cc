// Any 128 bytes are refused with a sentence, or are exactly what encoding their fields gives.
//
// Input: odd first byte: repair the checksum, so that what it hides is reached; then the id.

#include <cstring>

#include "src/unique_id.h"
#include "tests/fuzz/fuzz.h"

namespace {

constexpr size_t kCheckedBytes = 120;

void repair_checksum(gossamer::UniqueId* id) {
  const std::span<const std::byte> magic = std::span(id->bytes).first(8);
  const gossamer::Key digest =
      gossamer::hmac_sha256(magic, std::span(id->bytes).first(kCheckedBytes));
  std::memcpy(id->bytes.data() + kCheckedBytes, digest.data(), id->bytes.size() - kCheckedBytes);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t bytes) {
  gossamer::FuzzInput input(data, bytes);
  const bool repair = (input.byte() & 1) != 0;
  gossamer::UniqueId id;
  const std::span<const std::byte> content = input.take(id.bytes.size());
  std::copy(content.begin(), content.end(), id.bytes.begin());
  if (repair) {
    repair_checksum(&id);
  }
  const auto fields = gossamer::parse_unique_id(id);
  if (fields) {
    FUZZ_EXPECT(fields->address.port() != 0);
    FUZZ_EXPECT(gossamer::encode(*fields).bytes == id.bytes);
  } else {
    FUZZ_EXPECT(fields.status().code() == gossamer::Code::kInvalidArgument);
    FUZZ_EXPECT(!fields.status().message().empty());
  }
  return 0;
}

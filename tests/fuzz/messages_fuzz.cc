// What a meeting point and its ranks tell each other. A body that parses is within its bounds, and
// encoding the result gives the body again.
//
// Input: which message, then its bytes.

#include "src/messages.h"
#include "tests/fuzz/fuzz.h"

namespace gossamer {
namespace {

void fuzz_header(std::span<const std::byte> bytes) {
  if (const auto header = parse_frame_header(bytes)) {
    const std::vector<std::byte> again = encode(*header);
    FUZZ_EXPECT(std::equal(again.begin(), again.end(), bytes.begin(), bytes.end()));
  }
}

void fuzz_report(std::span<const std::byte> body) {
  if (const auto report = parse_report(body)) {
    FUZZ_EXPECT(report->size >= 1 && report->size <= kSizeMax);
    FUZZ_EXPECT(report->rank >= 0 && report->rank < report->size);
    FUZZ_EXPECT(report->listens_on.port() != 0);
    FUZZ_EXPECT(report->absent.size() <= kAbsentMax);
    const std::vector<std::byte> again = encode(*report);
    FUZZ_EXPECT(std::equal(again.begin(), again.end(), body.begin(), body.end()));
  }
}

void fuzz_welcome(std::span<const std::byte> body) {
  if (const auto welcome = parse_welcome(body)) {
    FUZZ_EXPECT(welcome->ahead.size() <= static_cast<size_t>(rounds_of(kSizeMax)));
    const std::vector<std::byte> again = encode(*welcome);
    FUZZ_EXPECT(std::equal(again.begin(), again.end(), body.begin(), body.end()));
    FUZZ_EXPECT(again.size() <= kMeetingBodyMax);
  }
}

void fuzz_absence(std::span<const std::byte> body) {
  if (const auto absent = parse_absence(body)) {
    FUZZ_EXPECT(!absent->empty() && absent->size() <= kAbsentMax);
    FUZZ_EXPECT(std::is_sorted(absent->begin(), absent->end()) && absent->front() >= 0);
    const std::vector<std::byte> again = encode_absence(*absent);
    FUZZ_EXPECT(std::equal(again.begin(), again.end(), body.begin(), body.end()));
    FUZZ_EXPECT(again.size() <= kMeetingBodyMax);
  }
}

void fuzz_failure(std::span<const std::byte> body) {
  if (const auto failure = parse_failure(body)) {
    FUZZ_EXPECT(!failure->is_ok());
    FUZZ_EXPECT(failure->message().size() <= kFailureTextMax);
    const std::vector<std::byte> again = encode_failure(*failure);
    FUZZ_EXPECT(std::equal(again.begin(), again.end(), body.begin(), body.end()));
    FUZZ_EXPECT(again.size() <= kMeetingBodyMax);
  }
}

}  // namespace
}  // namespace gossamer

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t bytes) {
  gossamer::FuzzInput input(data, bytes);
  const uint8_t which = input.byte();
  switch (which % 5) {
    case 0:
      gossamer::fuzz_header(input.rest());
      break;
    case 1:
      gossamer::fuzz_report(input.rest());
      break;
    case 2:
      gossamer::fuzz_welcome(input.rest());
      break;
    case 3:
      gossamer::fuzz_absence(input.rest());
      break;
    default:
      gossamer::fuzz_failure(input.rest());
  }
  return 0;
}

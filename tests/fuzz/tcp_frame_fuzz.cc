// What arrives on a tcp control connection, in runs of any length: the records found are the same
// as byte by byte, and a notice is an error with a rank of the group and printable text. A data
// header that is accepted encodes to itself.
//
// Input: length of a run, then the stream.

#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

#include "tests/fuzz/fuzz.h"
#include "transports/tcp/frame.h"

namespace gossamer::tcp {
namespace {

constexpr Rank kSize = 5;
using Found = RecordParser::Found;

void check_notice(const Fault& fault) {
  FUZZ_EXPECT(fault.code >= Code::kInvalidArgument && fault.code <= Code::kSystem);
  FUZZ_EXPECT(fault.rank >= -1 && fault.rank < kSize);
  FUZZ_EXPECT(fault.text.back() == '\0');
  for (const char c : fault.text) {
    FUZZ_EXPECT(c == '\0' || (static_cast<unsigned char>(c) >= 0x20 && c != 0x7F));
  }
}

std::vector<std::pair<Found, Fault>> parse(std::span<const std::byte> stream, size_t run_bytes) {
  std::vector<std::pair<Found, Fault>> records;
  RecordParser parser(kSize);
  while (!stream.empty()) {
    std::span<const std::byte> run = stream.first(std::min(run_bytes, stream.size()));
    stream = stream.subspan(run.size());
    while (!run.empty()) {
      const size_t before = run.size();
      Fault fault;
      const Found found = parser.next(&run, &fault);
      FUZZ_EXPECT(run.size() < before || found == Found::kGarbage);
      if (found == Found::kNothing) continue;
      if (found == Found::kNotice) check_notice(fault);
      records.emplace_back(found, fault);
      if (found == Found::kGarbage) return records;
    }
  }
  return records;
}

void run(gossamer::FuzzInput* input) {
  const size_t run_bytes = input->byte() + size_t{1};
  const std::span<const std::byte> stream = input->rest();
  const auto at_once = parse(stream, run_bytes);
  const auto singly = parse(stream, 1);
  FUZZ_EXPECT(at_once.size() == singly.size());
  for (size_t i = 0; i < at_once.size(); ++i) {
    FUZZ_EXPECT(at_once[i].first == singly[i].first);
    FUZZ_EXPECT(at_once[i].second.text == singly[i].second.text);
  }
  if (stream.size() < kHeaderBytes) return;
  Header header;
  if (!decode(stream.first<kHeaderBytes>(), &header)) return;
  const auto again = encode(header);
  FUZZ_EXPECT(std::equal(again.begin(), again.end(), stream.begin()));
}

}  // namespace
}  // namespace gossamer::tcp

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t bytes) {
  gossamer::FuzzInput input(data, bytes);
  gossamer::tcp::run(&input);
  return 0;
}

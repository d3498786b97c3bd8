// Text from the environment: host lists, rendezvous, addresses, /proc lines. What is accepted is
// well formed; a host in particular never smuggles in anything but a name.
//
// Input: which kind, then the text.

#include "src/meeting.h"
#include "src/net.h"
#include "src/nodelist.h"
#include "src/process.h"
#include "tests/fuzz/fuzz.h"

namespace gossamer {
namespace {

void fuzz_nodelist(const std::string& text) {
  const auto host = first_host(text);
  if (!host) {
    FUZZ_EXPECT(host.status().code() == Code::kInvalidArgument);
    return;
  }
  FUZZ_EXPECT(!host->empty() && host->size() <= 253);
  FUZZ_EXPECT(host->find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                      "0123456789-._") == std::string::npos);
  FUZZ_EXPECT(*first_host(*host) == *host);  // a plain name is its own first host
}

void fuzz_rendezvous(const std::string& text) {
  const auto parsed = parse_rendezvous(text);
  if (!parsed) {
    FUZZ_EXPECT(parsed.status().code() == Code::kInvalidArgument);
  } else if (parsed->is_file) {
    FUZZ_EXPECT(parsed->path.starts_with('/') && !parsed->path.ends_with('/'));
  } else {
    FUZZ_EXPECT(parsed->port != 0 && !parsed->host.empty());
  }
}

void fuzz_address(const std::string& text) {
  if (const auto address = SocketAddress::parse(text)) {
    const auto again = SocketAddress::parse(address->to_string());
    FUZZ_EXPECT(again && again->to_string() == address->to_string());
  }
}

void fuzz_process(const std::string& text) {
  if (const auto info = parse_process_stat(text)) {
    FUZZ_EXPECT(text.find(info->command) != std::string::npos);
  }
}

}  // namespace
}  // namespace gossamer

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t bytes) {
  gossamer::FuzzInput input(data, bytes);
  const uint8_t which = input.byte();
  const std::string text = input.text();
  switch (which % 4) {
    case 0:
      gossamer::fuzz_nodelist(text);
      break;
    case 1:
      gossamer::fuzz_rendezvous(text);
      break;
    case 2:
      gossamer::fuzz_address(text);
      break;
    default:
      gossamer::fuzz_process(text);
  }
  return 0;
}

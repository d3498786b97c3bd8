// A member of a small group is given datagrams. Those without the right tag change nothing; those
// with one are decoded to what encodes to the same bytes, or refused whole; whatever is in them,
// what the member keeps and sends stays within its bounds.
//
// Input: mode; then datagrams {length 2, bytes}. In mode 0 they come as they are; otherwise sealed,
// their header made that of a new datagram to this member, so that what they hide is reached.

#include <cstring>
#include <string>
#include <vector>

#include "gossip/membership/protocol.h"
#include "tests/fuzz/fuzz.h"

namespace gossamer::swim {
namespace {

constexpr MemberId kSelf = 0x1111;
constexpr size_t kMembersMax = 8;

Endpoint endpoint(uint8_t host) {
  Endpoint e;
  e.family = 4;
  e.host = {10, 0, 0, host};
  e.port = 1'000;
  return e;
}

Protocol::Config config() {
  Protocol::Config c;
  c.key.fill(std::byte{5});
  c.id = kSelf;
  c.address = endpoint(1);
  c.metadata = "self";
  c.timing.members_max = kMembersMax;
  return c;
}

std::string knowledge(const Protocol& protocol) {
  std::string text;
  for (const auto& [id, entry] : protocol.roster().entries()) {
    text += std::to_string(id) + ":" + std::to_string(static_cast<int>(entry.state)) + ":" +
            std::to_string(entry.incarnation) + entry.metadata + ";";
  }
  return text;
}

void introduce_some(Protocol* protocol, const Seal& seal, uint64_t* counter) {
  Message m;
  m.kind = Kind::kState;
  m.from = 0x2222;
  m.to = kSelf;
  m.counter = ++*counter;
  for (uint8_t i = 2; i < 6; ++i) {
    Update update;
    update.id = MemberId{0x1111} * i;
    update.address = endpoint(i);
    m.updates.push_back(update);
  }
  std::vector<std::byte> bytes = DatagramWriter(m).take();
  seal.close(&bytes);
  protocol->receive(Instant(0), endpoint(2), bytes);
}

// Puts magic, version, ids and counter in place; the kind stays the input's.
void make_plausible(std::vector<std::byte>* bytes, uint64_t counter) {
  if (bytes->size() < kHeaderBytes) return;
  const auto kind = std::to_integer<uint8_t>((*bytes)[3]);
  const bool who = kind == static_cast<uint8_t>(Kind::kWho);
  const uint64_t from = uint64_t{0x1111} * (2 + std::to_integer<uint8_t>((*bytes)[4]) % 5);
  const uint64_t to = who ? 0 : kSelf;
  (*bytes)[0] = std::byte{'G'};
  (*bytes)[1] = std::byte{'M'};
  (*bytes)[2] = std::byte{1};
  std::memcpy(bytes->data() + 4, &from, sizeof(from));
  std::memcpy(bytes->data() + 12, &to, sizeof(to));
  std::memcpy(bytes->data() + 20, &counter, sizeof(counter));
}

void check_decoding(std::span<const std::byte> bytes) {
  const auto message = decode(bytes);
  if (!message) return;
  FUZZ_EXPECT(message->updates.size() <= kDatagramBytesMax / kUpdateBytesMin);
  const std::vector<std::byte> again = DatagramWriter(*message).take();
  FUZZ_EXPECT(std::equal(again.begin(), again.end(), bytes.begin(), bytes.end()));
}

void check_bounds(Protocol* protocol, size_t datagrams_max) {
  const auto datagrams = protocol->take_datagrams();
  FUZZ_EXPECT(datagrams.size() <= datagrams_max);
  for (const auto& datagram : datagrams) FUZZ_EXPECT(datagram.bytes.size() <= kDatagramBytesMax);
  static_cast<void>(protocol->take_events());
  FUZZ_EXPECT(protocol->members().size() <= kMembersMax);
  FUZZ_EXPECT(protocol->self().id == kSelf);
  FUZZ_EXPECT(protocol->self().state == MemberState::kAlive);
}

}  // namespace
}  // namespace gossamer::swim

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t bytes) {
  using namespace gossamer::swim;  // NOLINT(google-build-using-namespace)
  gossamer::FuzzInput input(data, bytes);
  const bool raw = input.byte() == 0;
  const Protocol::Config config = gossamer::swim::config();
  const Seal seal(config.key, config.session);
  Protocol protocol(config, Instant(0));
  uint64_t counter = 0;
  introduce_some(&protocol, seal, &counter);
  static_cast<void>(protocol.take_events());
  Instant now(0);
  while (!input.empty()) {
    const size_t low = input.byte();
    const size_t length = low | (input.byte() & 7u) << 8;
    const auto run = input.take(length);
    std::vector<std::byte> datagram(run.begin(), run.end());
    check_decoding(datagram);
    const std::string before = knowledge(protocol);
    if (!raw) {
      make_plausible(&datagram, ++counter);
      check_decoding(datagram);
      seal.close(&datagram);
    }
    protocol.receive(now, endpoint(static_cast<uint8_t>(2 + length % 5)), datagram);
    FUZZ_EXPECT(!raw || knowledge(protocol) == before);
    check_bounds(&protocol, 40);
    now += std::chrono::milliseconds(low * 8);
    if (now >= protocol.next_tick()) protocol.tick(now);
    check_bounds(&protocol, 40);
  }
  return 0;
}

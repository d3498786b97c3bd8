// What members of an averaging job send each other: heads and cards parse to what encodes to the
// same bytes or are refused; and whatever a peer that knows the key sends after the handshake, what
// comes out of a link is within bounds, and a ledger that takes it stays sound.
//
// Input: mode; in mode 0 a head or card, else what the peer sends.

#include <sys/socket.h>

#include <array>
#include <cmath>
#include <string>

#include "gossip/job/frames.h"
#include "gossip/job/ledger.h"
#include "gossip/job/link.h"
#include "tests/fuzz/fuzz.h"

namespace gossamer::job {
namespace {

constexpr uint64_t kCount = 3;

void parse(FuzzInput* input) {
  const std::span<const std::byte> bytes = input->rest();
  if (const auto head = parse_head(bytes)) {
    const auto again = encode(*head);
    FUZZ_EXPECT(std::equal(again.begin(), again.end(), bytes.begin(), bytes.end()));
    FUZZ_EXPECT(std::isfinite(head->weight) && head->weight >= 0);
  }
  const std::string metadata(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  if (const auto card = parse_card(metadata)) {
    FUZZ_EXPECT(encode(*card) == metadata);
    FUZZ_EXPECT(card->label.size() <= kLabelBytesMax && card->port != 0);
  }
}

struct Ends {
  std::unique_ptr<Link> peer;
  std::unique_ptr<Link> own;
  int raw = -1;  // of the peer
};

Ends connect(const Link::Shape& shape) {
  std::array<int, 2> ends{};
  FUZZ_EXPECT(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends.data()) ==
              0);
  const Key key{};
  Ends made;
  made.peer = std::make_unique<Link>(Fd(ends[0]),
                                     Handshake(key, Handshake::Role::kConnector, 1, 0, 0), shape);
  made.own = std::make_unique<Link>(Fd(ends[1]),
                                    Handshake(key, Handshake::Role::kAcceptor, 1, 0, 0), shape);
  made.raw = ends[0];
  for (int i = 0; i < 4; ++i) {
    made.peer->step();
    made.own->step();
  }
  FUZZ_EXPECT(made.peer->open() && made.own->open());
  return made;
}

void converse(FuzzInput* input, DataType type) {
  const Link::Shape shape{kCount, type};
  Ends ends = connect(shape);
  const std::span<const std::byte> said = input->take(64 * 1024);  // fits the socket's buffer
  const ssize_t sent = ::send(ends.raw, said.data(), said.size(), MSG_NOSIGNAL);
  FUZZ_EXPECT(said.empty() || sent > 0);
  Ledger ledger(kCount, type);
  const std::array<double, kCount> z{};
  ledger.begin(z.data());
  size_t consumed = 0;
  for (;;) {
    ends.own->step();
    if (!ends.own->arrived()) break;
    const Message message = ends.own->take();
    consumed += Head::kBytes + message.packet.elements.size();
    FUZZ_EXPECT(message.packet.elements.size() <= kCount * sizeof(double));
    if (message.head.kind != Kind::kPush) continue;
    const double before = ledger.weight();
    const Ledger::Taken taken = ledger.take(1, message.packet);
    FUZZ_EXPECT(taken == Ledger::Taken::kTaken ? ledger.weight() >= before
                                               : ledger.weight() == before);
    FUZZ_EXPECT(ledger.peers_known() <= 1);
  }
  FUZZ_EXPECT(consumed <= said.size());
  ends.peer->close();
  ends.own->step();
  FUZZ_EXPECT(ends.own->closed());
}

}  // namespace
}  // namespace gossamer::job

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t bytes) {
  using namespace gossamer::job;  // NOLINT(google-build-using-namespace)
  gossamer::FuzzInput input(data, bytes);
  const uint8_t mode = input.byte();
  if (mode == 0) {
    parse(&input);
  } else {
    converse(&input, mode % 2 == 0 ? gossamer::DataType::kFloat64 : gossamer::DataType::kFloat32);
  }
  return 0;
}

// Two ends shake hands over a line that the input cuts and alters. Unaltered they agree; with any
// bit altered the end that received it is never done.
//
// Input: role of the attacked end, then pairs (how many bytes to pass on, mask for the first).

#include <array>
#include <vector>

#include "src/auth.h"
#include "tests/fuzz/fuzz.h"

namespace gossamer {
namespace {

struct Line {
  FuzzInput* input;
  bool altered = false;

  // Passes on some of what `from` has to say; after the input has ended, all of it, unaltered.
  Code pass(Handshake* from, Handshake* to, bool attack) {
    const size_t limit = input->empty() ? 1000 : size_t{1} + input->byte();
    const uint8_t mask = input->byte();
    const size_t bytes = std::min({from->to_send().size(), to->wanted(), limit});
    std::vector<std::byte> copy(from->to_send().begin(),
                                from->to_send().begin() + static_cast<std::ptrdiff_t>(bytes));
    if (attack && mask != 0 && !copy.empty()) {
      copy[0] ^= std::byte{mask};
      altered = true;
    }
    from->sent(bytes);
    return to->feed(copy);
  }
};

// The input is all that the end ever hears: without the key it must never be done.
void feed_alone(FuzzInput* input) {
  Key key{};
  key.fill(std::byte{9});
  const auto role =
      (input->byte() & 1) != 0 ? Handshake::Role::kConnector : Handshake::Role::kAcceptor;
  Handshake end(key, role, 0x0102030405060708, 1, 2);
  while (!input->empty() && end.wanted() > 0) {
    end.sent(end.to_send().size());
    const size_t chunk = size_t{1} + input->byte();
    static_cast<void>(end.feed(input->take(std::min(chunk, end.wanted()))));
  }
  end.sent(end.to_send().size());
  FUZZ_EXPECT(!end.done());
}

void converse(FuzzInput* input) {
  Key key{};
  key.fill(std::byte{9});
  Handshake connector(key, Handshake::Role::kConnector, 7, 1, 3);
  Handshake acceptor(key, Handshake::Role::kAcceptor, 7, 2, 0);
  const bool attack_acceptor = (input->byte() & 1) != 0;
  Line line{input};
  for (int i = 0; i < 400; ++i) {
    const bool ok = line.pass(&connector, &acceptor, attack_acceptor) == Code::kOk &&
                    line.pass(&acceptor, &connector, !attack_acceptor) == Code::kOk;
    if (!ok) {
      break;
    }
  }
  const Handshake& attacked = attack_acceptor ? acceptor : connector;
  FUZZ_EXPECT(attacked.done() == !line.altered);
  FUZZ_EXPECT(line.altered || (connector.done() && acceptor.done()));
  FUZZ_EXPECT(line.altered || (connector.peer_rank() == 2 && acceptor.peer_rank() == 1));
  FUZZ_EXPECT(line.altered || acceptor.peer_purpose() == 3);
}

}  // namespace
}  // namespace gossamer

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t bytes) {
  gossamer::FuzzInput input(data, bytes);
  if ((input.byte() & 1) != 0) {
    gossamer::converse(&input);
  } else {
    gossamer::feed_alone(&input);
  }
  return 0;
}

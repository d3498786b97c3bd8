// A peer that knows the key sends the input after the handshake: whatever frames come out are
// within bounds, and the channel ends up closed or waiting, never stuck or confused.
//
// Input: body limit in KiB, then what the peer sends.

#include <sys/socket.h>

#include <array>

#include "src/channel.h"
#include "tests/fuzz/fuzz.h"

namespace gossamer {
namespace {

void run(FuzzInput* input) {
  const size_t limit = size_t{1024} * (input->byte() % 8);
  const std::span<const std::byte> said = input->take(64 * 1024);  // fits the socket's buffer
  std::array<int, 2> ends{};
  FUZZ_EXPECT(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends.data()) ==
              0);
  const Key key{};
  SocketAddress nowhere;
  Channel peer(Fd{ends[0]}, nowhere, Handshake(key, Handshake::Role::kConnector, 1, 0, 0), 0);
  Channel own(Fd{ends[1]}, nowhere, Handshake(key, Handshake::Role::kAcceptor, 1, 1, 0), limit);
  for (int i = 0; i < 4; ++i) {
    peer.step();
    own.step();
  }
  FUZZ_EXPECT(peer.open() && own.open());
  const ssize_t sent = ::send(peer.fd(), said.data(), said.size(), MSG_NOSIGNAL);
  FUZZ_EXPECT(said.empty() || sent > 0);
  size_t consumed = 0;
  for (;;) {
    own.step();
    if (own.frame() == nullptr) {
      break;
    }
    const Frame frame = own.take_frame();
    FUZZ_EXPECT(frame.body.size() == frame.header.body_bytes);
    FUZZ_EXPECT(frame.body.size() <=
                (frame.header.type == FrameType::kBlobs ? limit : kMeetingBodyMax));
    consumed += FrameHeader::kBytes + frame.body.size();
  }
  FUZZ_EXPECT(consumed <= said.size());
  FUZZ_EXPECT(own.closed() || own.to_poll().events == POLLIN);
  peer.close("", 0);
  own.step();
  FUZZ_EXPECT(own.closed() && !own.why().empty());
}

}  // namespace
}  // namespace gossamer

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t bytes) {
  gossamer::FuzzInput input(data, bytes);
  gossamer::run(&input);
  return 0;
}

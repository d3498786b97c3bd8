#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "src/net.h"
#include "tests/transport_suite.h"
#include "transports/list.h"
#include "transports/tcp/frame.h"
#include "transports/tcp/word.h"

namespace gossamer::suite {

INSTANTIATE_TEST_SUITE_P(Tcp, TransportSuite,
                         testing::Values(TransportCase{
                             .name = "tcp", .create = tcp_transport.create, .authenticates = true}),
                         case_name);

}  // namespace gossamer::suite

namespace gossamer::tcp {

namespace {

using suite::Ranks;

// A plain connection to where `address` (as handed to the rendezvous) points.
int connect_plainly(const std::string& address) {
  const Result<SocketAddress> to = SocketAddress::parse(address.substr(0, address.find(' ')));
  if (!to) return -1;
  const int socket = ::socket(to.value().storage.ss_family, SOCK_STREAM, 0);
  if (::connect(socket, reinterpret_cast<const sockaddr*>(&to.value().storage),
                to.value().length) != 0) {
    ::close(socket);
    return -1;
  }
  return socket;
}

TEST(TcpFrame, HeaderSurvivesTheWire) {
  const Header sent{0xDEADBEEF, 0x0123456789ABCDEF, uint64_t{1} << 40};
  const auto bytes = encode(sent);
  Header got;
  ASSERT_TRUE(decode(bytes, &got));
  EXPECT_EQ(got.sequence, sent.sequence);
  EXPECT_EQ(got.fingerprint, sent.fingerprint);
  EXPECT_EQ(got.bytes, sent.bytes);
  auto broken = bytes;
  broken[0] ^= std::byte{1};
  EXPECT_FALSE(decode(broken, &got));
}

TEST(TcpFrame, RecordsArriveInPiecesOfAnySize) {
  Fault fault;
  fault.set(Code::kTimeout, 2, "rank 2 is late");
  const Record notice = notice_record(fault);
  const Record goodbye = goodbye_record();
  std::vector<std::byte> stream(notice.view().begin(), notice.view().end());
  stream.insert(stream.end(), goodbye.view().begin(), goodbye.view().end());
  for (size_t step = 1; step <= stream.size(); ++step) {
    RecordParser parser(4);
    std::vector<RecordParser::Found> found;
    Fault got;
    for (size_t at = 0; at < stream.size(); at += step) {
      std::span<const std::byte> run(stream.data() + at, std::min(step, stream.size() - at));
      while (!run.empty()) {
        const auto next = parser.next(&run, &got);
        if (next != RecordParser::Found::kNothing) found.push_back(next);
      }
    }
    ASSERT_EQ(found.size(), 2u) << step;
    EXPECT_EQ(found[0], RecordParser::Found::kNotice);
    EXPECT_EQ(found[1], RecordParser::Found::kGoodbye);
    EXPECT_EQ(got.code, Code::kTimeout);
    EXPECT_EQ(got.rank, 2);
    EXPECT_STREQ(got.text.data(), "rank 2 is late");
  }
}

TEST(TcpFrame, ANoticeIsCleanedOfWhatAPeerMustNotSay) {
  Fault fault;
  fault.set(Code::kOk, 99, "bell\a escape\x1b[31m newline\n");
  const Record record = notice_record(fault);
  RecordParser parser(4);
  std::span<const std::byte> run = record.view();
  Fault got;
  ASSERT_EQ(parser.next(&run, &got), RecordParser::Found::kNotice);
  EXPECT_EQ(got.code, Code::kSystem) << "a notice is an error whatever it claims";
  EXPECT_EQ(got.rank, -1);
  EXPECT_STREQ(got.text.data(), "bell? escape?[31m newline?");
}

TEST(TcpFrame, ALengthBeyondTheBoundIsGarbage) {
  for (const auto& bytes : {std::array{1, 255, 255}, std::array{1, 4, 0}, std::array{1, 237, 0},
                            std::array{2, 1, 0}, std::array{9, 0, 0}}) {
    std::array<std::byte, 3> record{};
    for (size_t i = 0; i < 3; ++i) record[i] = static_cast<std::byte>(bytes[i]);
    RecordParser parser(4);
    std::span<const std::byte> run(record);
    Fault got;
    EXPECT_EQ(parser.next(&run, &got), RecordParser::Found::kGarbage);
  }
}

TEST(Tcp, StrangersAreDroppedAndDisturbNobody) {
  Ranks ranks(tcp_transport.create, 2);
  const std::string address = ranks[1].address();
  std::vector<int> strangers;
  for (int i = 0; i < 400; ++i) strangers.push_back(connect_plainly(address));  // more than pend
  for (const int s : strangers) {
    const char text[] = "GET / HTTP/1.1\r\nHost: here\r\n\r\n";
    if (s >= 0) (void)::send(s, text, sizeof text, MSG_NOSIGNAL);
  }
  ranks.open(0, 1);
  const auto sent = suite::pattern(100, 1);
  std::vector<std::byte> got(100);
  (void)ranks.recv(1, 0, 0, suite::sink_of(got), 1);
  (void)ranks.send(0, 1, 0, suite::message_of(sent), 1);
  ranks.drive([&] { return ranks.has(1, 1); });
  EXPECT_EQ(got, sent);
  std::array<char, 64> answer;
  for (const int s : strangers) {
    if (s < 0) continue;
    ssize_t n = 0;
    ranks.drive([&] {
      n = ::recv(s, answer.data(), answer.size(), MSG_DONTWAIT);
      return n == 0 || (n < 0 && errno != EAGAIN) || n > 0;
    });
    if (n > 0) {  // the acceptor's hello is all a stranger gets to see
      ranks.drive([&] {
        const ssize_t more = ::recv(s, answer.data(), answer.size(), MSG_DONTWAIT);
        EXPECT_LE(more, 0);
        return more == 0 || errno != EAGAIN;
      });
    }
    ::close(s);
  }
}

TEST(Tcp, AnAddressWhereNobodyListensIsAPeerThatCannotBeReached) {
  Ranks ranks(tcp_transport.create, 2);
  ranks.destroy(1);
  Fault fault;
  Code code = Code::kAgain;
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (code == Code::kAgain && std::chrono::steady_clock::now() < end) {
    code = ranks[0].open(1, &fault);
    if (code != Code::kAgain) break;
    std::vector<Token> done;
    code = ranks[0].poll(&done, &fault);
    if (code == Code::kOk) code = Code::kAgain;
  }
  EXPECT_EQ(code, Code::kPeerLost);
  EXPECT_EQ(fault.rank, 1);
  EXPECT_NE(std::string(fault.text.data()).find("127.0.0.1"), std::string::npos);
}

// Its author was held up between connecting and writing, and while it wrote.
TEST(Tcp, AWordThatComesLateAndInPartsIsHeard) {
  Fault aborted;
  aborted.set(Code::kAborted, 0, "rank 0 called abort()");
  for (const size_t part : {size_t{3}, kWordMagicBytes, size_t{60}, kWordBytes - 1}) {
    TransportConfig config_of_0;
    Ranks ranks(tcp_transport.create, 2, [&](TransportConfig& config) {
      if (config.rank == 0) config_of_0 = config;
    });
    const Word word = make_word(config_of_0, 1, notice_record(aborted));
    const int author = connect_plainly(ranks[1].address());
    ASSERT_GE(author, 0);
    for (int i = 0; i < 20; ++i) ranks.step(1);
    ASSERT_EQ(::send(author, word.data(), part, 0), static_cast<ssize_t>(part));
    for (int i = 0; i < 20; ++i) ranks.step(1);
    EXPECT_EQ(ranks.fault(1).code, Code::kOk);
    (void)::send(author, word.data() + part, word.size() - part, MSG_NOSIGNAL);
    ::close(author);
    ranks.drive([&] { return ranks.fault(1).code != Code::kOk; });
    EXPECT_EQ(ranks.fault(1).code, Code::kAborted) << "in parts of " << part;
    EXPECT_EQ(ranks.fault(1).rank, 0);
  }
}

TEST(Tcp, ALinkThatNeverComesTimesOut) {
  Ranks ranks(tcp_transport.create, 2,
              [](TransportConfig& config) { config.timeout = std::chrono::milliseconds(100); });
  Fault fault;
  Code code = Code::kAgain;
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (code == Code::kAgain && std::chrono::steady_clock::now() < end) {
    code = ranks[1].open(0, &fault);  // rank 0 never opens its end
    ranks.step(1);
  }
  EXPECT_EQ(code, Code::kTimeout);
  EXPECT_EQ(fault.rank, 0);
}

// Beyond a few waiting flows, epoll says which of them to try.
TEST(Tcp, ManyFlowsAtOnceAllArriveAndALeaverIsStillNoticed) {
  constexpr Rank kSize = 8;
  constexpr uint64_t kBytes = 300'000;
  Ranks ranks(tcp_transport.create, kSize);
  ranks.open_all();
  std::vector<std::vector<std::byte>> sent;
  for (Rank r = 0; r < kSize; ++r) sent.push_back(suite::pattern(kBytes, static_cast<uint64_t>(r)));
  for (Token round = 0; round < 5; ++round) {
    std::vector<std::vector<std::byte>> got(kSize * kSize, std::vector<std::byte>(kBytes));
    for (auto& tokens : ranks.done) tokens.clear();
    for (Rank to = 0; to < kSize; ++to) {
      for (Rank from = 0; from < kSize; ++from) {
        if (to == from) continue;
        auto& sink = got[static_cast<size_t>(to * kSize + from)];
        (void)ranks.recv(to, from, 0, suite::sink_of(sink, round), 1);
        (void)ranks.send(from, to, 0, suite::message_of(sent[static_cast<size_t>(from)], round), 2);
      }
    }
    ranks.drive([&] {
      for (Rank r = 0; r < kSize; ++r) {
        if (ranks.tokens(r).size() != 2 * (kSize - 1)) return false;
      }
      return true;
    });
    for (Rank to = 0; to < kSize; ++to) {
      for (Rank from = 0; from < kSize; ++from) {
        const auto& arrived = got[static_cast<size_t>(to * kSize + from)];
        ASSERT_TRUE(to == from || arrived == sent[static_cast<size_t>(from)]) << from << to;
      }
    }
  }
  std::vector<std::byte> never(8);
  for (Rank from = 1; from < kSize; ++from) {
    (void)ranks.recv(0, from, 0, suite::sink_of(never), 3);
  }
  for (int i = 0; i < 100; ++i) ranks.step();
  ranks.destroy(5);
  ranks.drive([&] { return ranks.fault(0).code != Code::kOk; });
  EXPECT_EQ(ranks.fault(0).code, Code::kPeerLost);
  EXPECT_EQ(ranks.fault(0).rank, 5);
}

// A rank in a process of its own, killed at a random moment of an exchange.
TEST(Tcp, AKilledProcessIsNoticedByAllItsPeersAtOnce) {
  for (unsigned seed = 0; seed < 10; ++seed) {
    Ranks ranks(tcp_transport.create, 3);
    std::array<int, 2> alive{};
    ASSERT_EQ(::pipe(alive.data()), 0);
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);  // it never ends by itself
      std::unique_ptr<Transport> self = ranks.release(2);
      Fault fault;
      std::vector<Token> done;
      std::vector<std::byte> bytes(1 << 16);
      while (self->open(0, &fault) == Code::kAgain || self->open(1, &fault) == Code::kAgain) {
        (void)self->poll(&done, &fault);
      }
      (void)!::write(alive[1], "x", 1);
      for (;;) {
        (void)self->send(0, 0, suite::message_of(bytes), 1, &fault);
        (void)self->poll(&done, &fault);
      }
    }
    // Here the child is rank 2: our copy of it must not answer.
    std::unique_ptr<Transport> copy = ranks.release(2);
    Code first = Code::kAgain;
    Code second = Code::kAgain;
    ranks.drive([&] {
      if (first != Code::kOk) first = ranks[0].open(2, &ranks.fault(0));
      if (second != Code::kOk) second = ranks[1].open(2, &ranks.fault(1));
      return first == Code::kOk && second == Code::kOk;
    });
    char x = 0;
    ASSERT_EQ(::read(alive[0], &x, 1), 1);
    std::vector<std::byte> got(1 << 16);
    (void)ranks.recv(0, 2, 0, suite::sink_of(got), 1);
    for (unsigned i = 0; i < seed * 50; ++i) ranks.step();
    ::kill(child, SIGKILL);
    const auto before = std::chrono::steady_clock::now();
    ranks.drive(
        [&] { return ranks.fault(0).code != Code::kOk && ranks.fault(1).code != Code::kOk; });
    EXPECT_LT(std::chrono::steady_clock::now() - before, std::chrono::seconds(10));
    for (Rank r = 0; r < 2; ++r) {
      EXPECT_EQ(ranks.fault(r).code, Code::kPeerLost);
      EXPECT_EQ(ranks.fault(r).rank, 2);
    }
    ::waitpid(child, nullptr, 0);
    ::close(alive[0]);
    ::close(alive[1]);
  }
}

}  // namespace

}  // namespace gossamer::tcp

// The handshake: who is let in, who is not, and what each is told.

#include "src/auth.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

namespace gossamer {
namespace {

using Role = Handshake::Role;

Key key_of(int seed) {
  Key key{};
  key.fill(static_cast<std::byte>(seed));
  return key;
}

// Moves at most `chunk` bytes from one end to the other. False once the receiver has refused.
bool carry(Handshake* from, Handshake* to, size_t chunk) {
  const std::span<const std::byte> out = from->to_send();
  const size_t bytes = std::min({out.size(), to->wanted(), chunk});
  const std::vector<std::byte> copy(out.begin(), out.begin() + static_cast<std::ptrdiff_t>(bytes));
  from->sent(bytes);
  return to->feed(copy) == Code::kOk;
}

// Runs both ends until neither has anything to say.
bool converse(Handshake* a, Handshake* b, size_t chunk = 1000) {
  for (int i = 0; i < 400; ++i) {
    if (!carry(a, b, chunk) || !carry(b, a, chunk)) {
      return false;
    }
  }
  return true;
}

std::string hex(std::span<const std::byte> bytes) {
  std::string text;
  for (const std::byte b : bytes) {
    const char* digits = "0123456789abcdef";
    text += digits[std::to_integer<int>(b) >> 4];
    text += digits[std::to_integer<int>(b) & 15];
  }
  return text;
}

TEST(Hmac, GivesTheNumbersOfRfc4231) {
  const std::vector<std::byte> key(20, std::byte{0x0b});
  const std::string message = "Hi There";
  EXPECT_EQ(hex(hmac_sha256(key, std::as_bytes(std::span(message)))),
            "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
  const std::string short_key = "Jefe";
  const std::string question = "what do ya want for nothing?";
  EXPECT_EQ(
      hex(hmac_sha256(std::as_bytes(std::span(short_key)), std::as_bytes(std::span(question)))),
      "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
}

TEST(RandomBytes, DifferEachTime) {
  Key a{};
  Key b{};
  ASSERT_TRUE(random_bytes(a));
  ASSERT_TRUE(random_bytes(b));
  EXPECT_NE(a, b);
}

TEST(HandshakeTest, AdmitsEqualKeysHoweverTheBytesAreCut) {
  for (const size_t chunk : {size_t{1}, size_t{7}, size_t{48}, size_t{1000}}) {
    Handshake a(key_of(1), Role::kConnector, 77, 3, 12);
    Handshake b(key_of(1), Role::kAcceptor, 77, 5, 0);
    EXPECT_TRUE(converse(&a, &b, chunk));
    ASSERT_TRUE(a.done());
    ASSERT_TRUE(b.done());
    EXPECT_EQ(a.peer_rank(), 5);
    EXPECT_EQ(b.peer_rank(), 3);
    EXPECT_EQ(b.peer_purpose(), 12U);
    EXPECT_EQ(a.wanted(), 0U);
    EXPECT_TRUE(b.to_send().empty());
  }
}

TEST(HandshakeTest, RefusesAnotherKey) {
  Handshake a(key_of(1), Role::kConnector, 77, 3, 0);
  Handshake b(key_of(2), Role::kAcceptor, 77, 5, 0);
  EXPECT_FALSE(converse(&a, &b));
  EXPECT_FALSE(a.done());
  EXPECT_FALSE(b.done());
  EXPECT_STREQ(b.reason(), "it does not know the group's key");
}

TEST(HandshakeTest, ProvesNothingToWhoHasNotProvenItself) {
  Handshake a(key_of(1), Role::kConnector, 77, 3, 0);
  Handshake b(key_of(2), Role::kAcceptor, 77, 5, 0);
  ASSERT_TRUE(carry(&a, &b, 1000));
  EXPECT_EQ(b.to_send().size(), Handshake::kHelloBytes);
  b.sent(Handshake::kHelloBytes);
  EXPECT_TRUE(b.to_send().empty());
}

TEST(HandshakeTest, RefusesAnotherSession) {
  Handshake a(key_of(1), Role::kConnector, 77, 3, 0);
  Handshake b(key_of(1), Role::kAcceptor, 78, 5, 0);
  EXPECT_FALSE(converse(&a, &b));
  EXPECT_NE(std::string(b.reason()).find("another session"), std::string::npos);
  EXPECT_FALSE(b.done());
}

TEST(HandshakeTest, RefusesItsOwnReflection) {
  Handshake a(key_of(1), Role::kConnector, 77, 3, 0);
  Handshake same(a);
  EXPECT_FALSE(carry(&a, &same, 1000));
  EXPECT_STREQ(same.reason(), "it plays the wrong part of the handshake");
}

TEST(HandshakeTest, RefusesAStrangerAtItsFirstByte) {
  Handshake b(key_of(1), Role::kAcceptor, 77, 5, 0);
  const std::byte get[] = {std::byte{'G'}, std::byte{'E'}, std::byte{'T'}};
  EXPECT_EQ(b.feed(std::span(get).first(1)), Code::kOk);  // 'G' is ours too
  EXPECT_EQ(b.feed(std::span(get).subspan(1)), Code::kMismatch);
  EXPECT_STREQ(b.reason(), "it does not speak Gossamer's protocol");
  EXPECT_EQ(b.feed(get), Code::kMismatch);  // and stays refused
  EXPECT_EQ(b.wanted(), 0U);
  EXPECT_TRUE(b.to_send().empty());
}

TEST(HandshakeTest, RefusesAReplayedConversation) {
  Handshake a(key_of(1), Role::kConnector, 77, 3, 0);
  Handshake b(key_of(1), Role::kAcceptor, 77, 5, 0);
  std::vector<std::byte> heard;
  const auto listen = [&] {
    const auto out = a.to_send();
    heard.insert(heard.end(), out.begin(), out.end());
  };
  listen();
  ASSERT_TRUE(carry(&a, &b, 1000));
  ASSERT_TRUE(carry(&b, &a, 1000));
  listen();
  ASSERT_TRUE(converse(&a, &b));
  ASSERT_TRUE(b.done());
  ASSERT_EQ(heard.size(), Handshake::kHelloBytes + Handshake::kProofBytes);

  Handshake fresh(key_of(1), Role::kAcceptor, 77, 5, 0);
  ASSERT_EQ(fresh.feed(std::span(heard).first(Handshake::kHelloBytes)), Code::kOk);
  EXPECT_EQ(fresh.feed(std::span(heard).subspan(Handshake::kHelloBytes)), Code::kMismatch);
}

// Each bit of what the connector says, altered on the way, must keep it out.
TEST(HandshakeTest, RefusesAnyAlteredBit) {
  constexpr size_t kBits = 8 * (Handshake::kHelloBytes + Handshake::kProofBytes);
  for (size_t bit = 0; bit < kBits; ++bit) {
    Handshake a(key_of(1), Role::kConnector, 77, 3, 0);
    Handshake b(key_of(1), Role::kAcceptor, 77, 5, 0);
    size_t at = 0;
    bool refused = false;
    for (int i = 0; i < 4 && !refused; ++i) {
      std::vector<std::byte> out(a.to_send().begin(), a.to_send().end());
      a.sent(out.size());
      if (bit / 8 >= at && bit / 8 < at + out.size()) {
        out[bit / 8 - at] ^= static_cast<std::byte>(1U << (bit % 8));
      }
      at += out.size();
      refused = b.feed(out) != Code::kOk || !carry(&b, &a, 1000);
    }
    EXPECT_FALSE(b.done()) << "bit " << bit;
  }
}

}  // namespace
}  // namespace gossamer

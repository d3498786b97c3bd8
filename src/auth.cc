#include "src/auth.h"

#include <openssl/crypto.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "src/check.h"
#include "src/wire.h"

namespace gossamer {
namespace {

constexpr std::array<std::byte, 4> kMagic{std::byte{'G'}, std::byte{'S'}, std::byte{'M'},
                                          std::byte{'R'}};
constexpr uint16_t kVersion = 3;
// Hello: magic 4, version 2, role 1, zero 1, session 8, rank 4, purpose 4, nonce 16, zero 8.
constexpr size_t kNonceAt = 24;
constexpr size_t kNonceBytes = 16;

const char* label_of(Handshake::Role role) {
  return role == Handshake::Role::kConnector ? "gossamer connector proof"
                                             : "gossamer acceptor proof ";
}

struct Hello {
  bool magic = false;
  uint16_t version = 0;
  uint8_t role = 0;
  uint64_t session = 0;
  Rank rank = -1;
  uint32_t purpose = 0;
};

Hello parse_hello(std::span<const std::byte> bytes) {
  WireReader in(bytes);
  Hello hello;
  const std::span<const std::byte> magic = in.bytes(kMagic.size());
  hello.magic = std::equal(magic.begin(), magic.end(), kMagic.begin(), kMagic.end());
  hello.version = in.u16();
  hello.role = in.u8();
  in.u8();
  hello.session = in.u64();
  hello.rank = in.i32();
  hello.purpose = in.u32();
  return hello;
}

Key proof_of(const Key& key, Handshake::Role role, std::span<const std::byte> own,
             std::span<const std::byte> peer) {
  const char* label = label_of(role);
  std::vector<std::byte> message;
  message.reserve(std::strlen(label) + own.size() + peer.size());
  for (const char* c = label; *c != '\0'; ++c) {
    message.push_back(static_cast<std::byte>(*c));
  }
  message.insert(message.end(), own.begin(), own.end());
  message.insert(message.end(), peer.begin(), peer.end());
  return hmac_sha256(key, message);
}

}  // namespace

Handshake::Handshake(const Key& key, Role role, uint64_t session, Rank rank, uint32_t purpose)
    : key_(key), role_(role), session_(session) {
  WireWriter out;
  out.bytes(kMagic);
  out.u16(kVersion);
  out.u8(static_cast<uint8_t>(role));
  out.u8(0);
  out.u64(session);
  out.i32(rank);
  out.u32(purpose);
  GOSSAMER_CHECK(out.size() == kNonceAt);
  std::memcpy(hello_.data(), out.data().data(), kNonceAt);
  if (!random_bytes(std::span(hello_).subspan(kNonceAt, kNonceBytes))) {
    reason_ = "this host has no secure random numbers";
  }
}

// What may be sent grows in two stages: the Hello at once, the Proof when it can be made. An
// acceptor proves itself only to a connector that has done so, which gives a stranger nothing to
// guess a passphrase from.
std::span<const std::byte> Handshake::to_send() const {
  if (reason_[0] != '\0') {
    return {};
  }
  if (sent_ < kHelloBytes) {
    return std::span(hello_).subspan(sent_);
  }
  const size_t needed = role_ == Role::kConnector ? kHelloBytes : kHelloBytes + kProofBytes;
  if (received_ < needed) {
    return {};
  }
  return std::span(proof_).subspan(sent_ - kHelloBytes);
}

void Handshake::sent(size_t bytes) {
  GOSSAMER_CHECK(bytes <= to_send().size());
  sent_ += bytes;
}

size_t Handshake::wanted() const {
  if (reason_[0] != '\0') {
    return 0;
  }
  return received_ < kHelloBytes ? kHelloBytes - received_ : kHelloBytes + kProofBytes - received_;
}

Code Handshake::feed(std::span<const std::byte> bytes) {
  if (reason_[0] != '\0') {
    return Code::kMismatch;
  }
  GOSSAMER_CHECK(bytes.size() <= wanted());
  if (bytes.empty()) {
    return Code::kOk;
  }
  if (received_ < kHelloBytes) {
    std::copy(bytes.begin(), bytes.end(), peer_hello_.data() + received_);
    received_ += bytes.size();
    // Refuse a stranger at its first wrong byte: a port scanner never sends all 48.
    const size_t known = std::min(received_, kMagic.size());
    if (std::memcmp(peer_hello_.data(), kMagic.data(), known) != 0) {
      reason_ = "it does not speak Gossamer's protocol";
      return Code::kMismatch;
    }
    if (received_ == kHelloBytes) {
      check_hello();
    }
  } else {
    std::copy(bytes.begin(), bytes.end(), peer_proof_.data() + (received_ - kHelloBytes));
    received_ += bytes.size();
    if (received_ == kHelloBytes + kProofBytes && !check_proof()) {
      reason_ = "it does not know the group's key";
    }
  }
  return reason_[0] == '\0' ? Code::kOk : Code::kMismatch;
}

void Handshake::check_hello() {
  const Hello hello = parse_hello(peer_hello_);
  const Role expected = role_ == Role::kConnector ? Role::kAcceptor : Role::kConnector;
  if (hello.version != kVersion) {
    reason_ = "it speaks another version of Gossamer's protocol";
  } else if (hello.role != static_cast<uint8_t>(expected)) {
    reason_ = "it plays the wrong part of the handshake";
  } else if (hello.session != session_) {
    reason_ = "it belongs to another group or an earlier run (another session)";
  } else {
    make_proof();
  }
}

void Handshake::make_proof() {
  proof_ = proof_of(key_, role_, hello_, peer_hello_);
}

bool Handshake::check_proof() const {
  const Role peer = role_ == Role::kConnector ? Role::kAcceptor : Role::kConnector;
  const Key expected = proof_of(key_, peer, peer_hello_, hello_);
  return same_proof(expected, peer_proof_);
}

bool Handshake::done() const {
  return reason_[0] == '\0' && received_ == kHelloBytes + kProofBytes &&
         sent_ == kHelloBytes + kProofBytes;
}

Rank Handshake::peer_rank() const {
  return parse_hello(peer_hello_).rank;
}

uint32_t Handshake::peer_purpose() const {
  return parse_hello(peer_hello_).purpose;
}

const char* Handshake::reason() const {
  return reason_;
}

Key hmac_sha256(std::span<const std::byte> key, std::span<const std::byte> message) {
  Key digest{};
  unsigned int length = 0;
  const unsigned char* made =
      HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()),
           reinterpret_cast<const unsigned char*>(message.data()), message.size(),
           reinterpret_cast<unsigned char*>(digest.data()), &length);
  GOSSAMER_CHECK(made != nullptr && length == digest.size());
  return digest;
}

bool same_proof(std::span<const std::byte> a, std::span<const std::byte> b) {
  return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

Status random_bytes(std::span<std::byte> into) {
  if (RAND_bytes(reinterpret_cast<unsigned char*>(into.data()), static_cast<int>(into.size())) !=
      1) {
    return Status::error(Code::kSystem,
                         "OpenSSL has no secure random numbers: /dev/urandom or getrandom() must "
                         "be usable in this container");
  }
  return Status::ok();
}

}  // namespace gossamer

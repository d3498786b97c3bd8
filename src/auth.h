// Mutual proof that both ends of a connection know the communicator's key, before a byte of what
// follows is trusted. A pure state machine over bytes: the caller moves them.
//
//   Exchange  each end sends Hello {magic "GSMR", version, role, session, rank, 16-byte nonce}
//             (kHelloBytes), then Proof = HMAC-SHA256(key, label(role) | own Hello | peer's Hello),
//             compared in constant time. Reflection fails because the roles' labels differ. The
//             connector proves itself first.
//   Limits    exactly kHelloBytes + kProofBytes each way; nothing is allocated from peer input.
//   Threads   one thread per object.

#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "gossamer/status.h"
#include "gossamer/types.h"

namespace gossamer {

using Key = std::array<std::byte, 32>;

class Handshake {
 public:
  enum class Role : uint8_t { kConnector, kAcceptor };
  static constexpr size_t kHelloBytes = 48;
  static constexpr size_t kProofBytes = 32;

  // `purpose` separates uses of one key (bootstrap, tcp lane 3, ...): both ends must agree on it
  // except that an acceptor reads the connector's (peer_purpose()).
  Handshake(const Key& key, Role role, uint64_t session, Rank rank, uint32_t purpose);

  // Bytes to send now (may be empty). Call sent() with how many went out.
  std::span<const std::byte> to_send() const;
  void sent(size_t bytes);

  // How many bytes to read next at most; never reads into what follows the handshake.
  size_t wanted() const;
  // Feeds arrived bytes (at most wanted()). kOk: fine so far; kMismatch: wrong key, session,
  // version or magic: close the connection. `reason()` says which.
  Code feed(std::span<const std::byte> bytes);

  bool done() const;              // both proofs checked and everything sent
  Rank peer_rank() const;         // valid once done()
  uint32_t peer_purpose() const;  // valid once done()
  const char* reason() const;

 private:
  void check_hello();
  void make_proof();
  bool check_proof() const;

  Key key_;
  Role role_;
  uint64_t session_;
  std::array<std::byte, kHelloBytes> hello_{};
  std::array<std::byte, kProofBytes> proof_{};
  std::array<std::byte, kHelloBytes> peer_hello_{};
  std::array<std::byte, kProofBytes> peer_proof_{};
  size_t sent_ = 0;
  size_t received_ = 0;
  const char* reason_ = "";
};

// HMAC-SHA256 and secure random bytes, by OpenSSL.
Key hmac_sha256(std::span<const std::byte> key, std::span<const std::byte> message);
// Compares in a time that tells nothing about where they differ. False when the lengths do.
bool same_proof(std::span<const std::byte> a, std::span<const std::byte> b);
Status random_bytes(std::span<std::byte> into);

}  // namespace gossamer

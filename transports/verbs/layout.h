// What two ends of a queue pair share: records in landing rings, notes in receive slots, and the
// words that set a pair up.
//
//   Ring     per pair and direction, in the receiver's memory; the sender writes records there,
//            with immediate data that says where. A record begins on a page, never wraps, and holds
//            a header and a run of a message's bytes.
//   Note     64 bytes sent into a receive slot: what a receiver tells its sender, mostly.
//   Flag     immediate data with kDirectFlag: the message of that sequence number is complete in
//            the memory that its receiver had named.
//   Units    both ends are little-endian; the setup says so.
//   Trust    a peer has proved that it belongs to the group; what it writes is checked all the same
//            before it is used as an index or a length.

#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "gossamer/transport.h"

namespace gossamer::verbs {

inline constexpr uint32_t kRecordPage = 4096;
inline constexpr uint32_t kDirectFlag = 0x80000000;  // in immediate data; else a page of the ring

enum class RecordKind : uint32_t {
  kInline,    // all of a message, sent from the announcing request itself
  kStaged,    // a run that the sender copied
  kLent,      // a run from where the sender's caller keeps it
  kAnnounce,  // no bytes: a long message waits for its receiver's word
  kOffer,     // no bytes: a long message to be read from where the header says
};

struct RecordHeader {
  RecordKind kind = RecordKind::kInline;
  uint32_t sequence = 0;  // counts the messages of one lane in one direction
  Fingerprint fingerprint = 0;
  uint64_t message_bytes = 0;
  uint64_t run_bytes = 0;
  uint64_t consumed = 0;  // of the ring in the other direction, as a position
  uint64_t address = 0;   // kOffer: where the message lies, while the pair has made so many moves
  uint32_t key = 0;
  uint32_t attempt = 0;
  uint64_t unused = 0;
};
inline constexpr uint32_t kHeaderBytes = 64;
static_assert(sizeof(RecordHeader) == kHeaderBytes);

enum class NoteKind : uint32_t {
  kCredit = 1,  // nothing but `consumed`
  kRegion,      // slot, address, key, bytes: memory of the receiver's, named once
  kDirect,      // write message `sequence` to slot + address (an offset)
  kStream,      // send message `sequence` through the ring
  kTaken,       // all that was offered up to message `sequence` has been read
  kOffered,     // a sender's: after a move, message `sequence` is to be read at address, with key
};

struct Note {
  NoteKind kind = NoteKind::kCredit;
  uint32_t sequence = 0;
  Fingerprint fingerprint = 0;
  uint64_t bytes = 0;
  uint64_t consumed = 0;
  uint64_t address = 0;
  uint32_t key = 0;
  uint32_t slot = 0;
  std::array<uint64_t, 2> unused{};
};
static_assert(sizeof(Note) == 64);

struct QueueSetup {
  uint32_t number = 0;
  uint32_t first_packet = 0;
};

// One end of a pair, as the other must know it.
struct PairSetup {
  QueueSetup data;
  QueueSetup notes;
  uint16_t lid = 0;
  uint8_t mtu = 0;
  uint8_t reads = 0;  // that it serves at a time; 0: none
  bool ethernet = false;
  uint32_t gid_type = 0;
  std::array<std::byte, 16> gid{};
  uint64_t ring_address = 0;
  uint32_t ring_key = 0;
};

inline constexpr size_t kSetupHeaderBytes = 16;
inline constexpr size_t kPairSetupBytes = 56;
inline constexpr size_t setup_bytes(size_t lanes) {
  return kSetupHeaderBytes + lanes * kPairSetupBytes;
}
std::vector<std::byte> encode_setup(uint32_t ring_bytes, std::span<const PairSetup> pairs);
// kMismatch: another version, byte order or shape; the message says which.
Status decode_setup(std::span<const std::byte> from, uint32_t ring_bytes,
                    std::vector<PairSetup>* pairs);

// Control record: a pair continues on another port.
struct Move {
  Lane lane = 0;
  bool ready = false;    // the pair is connected; what follows is not said again
  uint32_t attempt = 0;  // counts a pair's moves, the same at both ends
  uint64_t taken = 0;    // records and flags that have arrived here so far
  uint64_t consumed = 0;
  PairSetup setup;
};
std::vector<std::byte> encode_move(const Move& move);
// False: these bytes are no such record.
bool decode_move(std::span<const std::byte> from, Move* move);

}  // namespace gossamer::verbs

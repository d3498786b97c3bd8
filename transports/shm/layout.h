// What two processes share: the layout of a link's area and of a rank's pool.
//
// A rank writes its own areas and pool and maps its peers' areas read-only. The one exception: with
// a core per rank, slots travel. Who has read a slot writes its next message into it, because lines
// that are in its cache already cost less to write than lines the peer has read meanwhile (32 KiB
// each way between two cores: 1.85 us against 2.33 us), and a reduction goes back where it came
// from (two-shot of 64 KiB: 1.60 us against 2.18 us). A confused peer can so garble what it sends,
// never what is not in a slot it was given. Windows are the caller's to share: with a message from
// one its sender may name a place in another for the answer, and who folds the message writes the
// result there.
//
//   Pool   one per rank: header, then slots for staging, read by every peer on the host.
//   Area   one per direction of a link: a ring of cells with a block of bytes each, a few slots of
//          its own (so that one peer that does not read cannot starve another), and the count of
//          cells consumed from the other direction.

#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace gossamer::shm {

inline constexpr uint32_t kCells = 64;  // per direction; a power of two
// Fewer, since messages in lockstep pass through all of them: 64 would leave the inner caches.
inline constexpr uint32_t kBlocks = 32;
inline constexpr uint32_t kInlineBytes = 48;  // carried inside the cell: one line, one transfer
inline constexpr uint32_t kBlockBytes = 4096;
// Cells that were read are counted in batches, so that the count's line stays where it is written.
inline constexpr uint32_t kCountedCells = kBlocks / 2;
// From here on a slot that travels, still in the cache of whom it has come to, beats a fresh block.
inline constexpr uint32_t kTravelBytesMin = 1024;
inline constexpr uint32_t kOwnSlots = 2;  // slots of an area
inline constexpr uint32_t kPoolSlots = 32;
inline constexpr uint32_t kTravellersMax = 16;  // slots away at one peer
inline constexpr uint32_t kLine = 64;
inline constexpr uint32_t kPage = 4096;

static_assert((kCells & (kCells - 1)) == 0);
static_assert((kBlocks & (kBlocks - 1)) == 0 && kBlocks <= kCells);

enum class CellKind : uint8_t {
  kInline,          // bytes in the cell
  kBlock,           // bytes in the cell's block
  kOwnSlot,         // a run in the area's slots
  kPoolSlot,        // a run in the sender's pool
  kTravellingSlot,  // the same, and the slot is the receiver's now, until it sends something in it
  kReturningSlot,   // a run in the receiver's pool, in a slot that has travelled and is home again
  kWindow,          // the message where the sender's caller keeps it: memory from allocate_memory()
  kMemory,          // the message anywhere in the sender's memory, for the receiver to read there
  kAnswered,        // the message is where the receiver wanted the answer
};

// Whether the bytes are still the sender's caller's: a send that is complete when they are read.
constexpr bool is_lent(CellKind kind) {
  return kind == CellKind::kWindow || kind == CellKind::kMemory;
}

// A run of one message. Filled first, then `sequence` is stored with release: flag in data.
struct alignas(kLine) Cell {
  struct Run {
    uint64_t message_bytes;  // of the whole message
    uint64_t run_bytes;      // in this cell; the message's next run is in the next cell
    uint64_t offset;         // of the run within the area, pool or window; kMemory: its address
    uint32_t window;
    uint32_t answer_window;  // lent: where the answer is to be written; 0: nowhere
    uint64_t answer_offset;  // kMemory: its address
    uint32_t all_travel;     // kTravellingSlot, a message's first run: so do all of them
  };
  std::atomic<uint32_t> sequence;  // position in the stream of cells plus one
  CellKind kind;
  bool announced;  // windows were, since the cell before it: read the control socket first
  uint16_t bytes;  // kInline, kBlock
  uint64_t fingerprint;
  union {
    std::byte data[kInlineBytes];
    Run run;
  };
};
static_assert(sizeof(Cell) == kLine);

struct Area {
  alignas(kLine) std::atomic<uint32_t> consumed;  // cells taken from the peer's area
  // While the owner reads what the peer lent, or writes an answer into the peer's memory.
  alignas(kLine) std::atomic<uint32_t> visiting;
  // Once the owner has failed: its memory is its caller's again as soon as the peer does not visit.
  std::atomic<uint32_t> revoked;
  alignas(kLine) Cell cells[kCells];
  alignas(kPage)
      std::byte blocks[kBlocks][kBlockBytes];  // a cell has the one of its number modulo kBlocks
  // then kOwnSlots slots
};

struct Pool {
  // Odd while the owner sleeps; a peer that publishes something then wakes it, once per value.
  alignas(kLine) std::atomic<uint32_t> naps;
  alignas(kPage) std::byte end_of_header[1];
  // then kPoolSlots slots, from offset kPage
};

// Larger groups on one host get smaller slots: a fully connected host stays below 1 GiB.
constexpr uint32_t slot_bytes_for(uint32_t ranks_on_host) {
  return ranks_on_host <= 16 ? 64 * 1024 : ranks_on_host <= 32 ? 32 * 1024 : 16 * 1024;
}
constexpr uint64_t area_bytes(uint32_t slot_bytes) {
  return sizeof(Area) + uint64_t{kOwnSlots} * slot_bytes;
}
constexpr uint64_t pool_bytes(uint32_t slot_bytes) {
  return kPage + uint64_t{kPoolSlots} * slot_bytes;
}

}  // namespace gossamer::shm

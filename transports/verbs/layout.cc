#include "transports/verbs/layout.h"

#include <algorithm>
#include <bit>

#include "src/wire.h"

namespace gossamer::verbs {

namespace {

constexpr uint32_t kMagic = 0x42565347;  // "GSVB"
constexpr uint16_t kVersion = 3;
constexpr uint8_t kLittle = 1;

void write_pair(const PairSetup& pair, WireWriter* writer) {
  for (const QueueSetup& queue : {pair.data, pair.notes}) {
    writer->u32(queue.number);
    writer->u32(queue.first_packet);
  }
  writer->u16(pair.lid);
  writer->u8(pair.mtu);
  writer->u8(pair.ethernet ? 1 : 0);
  writer->u32(pair.gid_type);
  writer->bytes(pair.gid);
  writer->u64(pair.ring_address);
  writer->u32(pair.ring_key);
  writer->u8(pair.reads);
  writer->zeros(3);
}

PairSetup read_pair(WireReader* reader) {
  PairSetup pair;
  for (QueueSetup* queue : {&pair.data, &pair.notes}) {
    queue->number = reader->u32();
    queue->first_packet = reader->u32();
  }
  pair.lid = reader->u16();
  pair.mtu = reader->u8();
  pair.ethernet = reader->u8() != 0;
  pair.gid_type = reader->u32();
  const std::span<const std::byte> gid = reader->bytes(pair.gid.size());
  std::copy(gid.begin(), gid.end(), pair.gid.begin());
  pair.ring_address = reader->u64();
  pair.ring_key = reader->u32();
  pair.reads = reader->u8();
  reader->bytes(3);
  return pair;
}

}  // namespace

std::vector<std::byte> encode_setup(uint32_t ring_bytes, std::span<const PairSetup> pairs) {
  WireWriter writer;
  writer.u32(kMagic);
  writer.u16(kVersion);
  writer.u8(std::endian::native == std::endian::little ? kLittle : 0);
  writer.u8(static_cast<uint8_t>(pairs.size()));
  writer.u32(ring_bytes);
  writer.zeros(4);
  for (const PairSetup& pair : pairs) write_pair(pair, &writer);
  return writer.take();
}

Status decode_setup(std::span<const std::byte> from, uint32_t ring_bytes,
                    std::vector<PairSetup>* pairs) {
  WireReader reader(from);
  const uint32_t magic = reader.u32();
  const uint16_t version = reader.u16();
  const uint8_t order = reader.u8();
  const uint8_t count = reader.u8();
  const uint32_t ring = reader.u32();
  reader.bytes(4);
  if (magic != kMagic || version != kVersion) {
    return Status::error(Code::kMismatch, "it runs another version of the library");
  }
  if (order != kLittle || std::endian::native != std::endian::little) {
    return Status::error(Code::kMismatch, "transport verbs needs little-endian machines");
  }
  if (setup_bytes(count) != from.size() || ring != ring_bytes) {
    return Status::error(Code::kMismatch, "it has another number of lanes");
  }
  pairs->clear();
  for (uint8_t i = 0; i < count; ++i) pairs->push_back(read_pair(&reader));
  if (!reader.done()) return Status::error(Code::kMismatch, "its setup is cut short");
  return Status::ok();
}

std::vector<std::byte> encode_move(const Move& move) {
  WireWriter writer;
  writer.u8(move.lane);
  writer.u8(move.ready ? 1 : 0);
  writer.u32(move.attempt);
  writer.u64(move.taken);
  writer.u64(move.consumed);
  write_pair(move.setup, &writer);
  return writer.take();
}

bool decode_move(std::span<const std::byte> from, Move* move) {
  WireReader reader(from);
  move->lane = reader.u8();
  move->ready = reader.u8() != 0;
  move->attempt = reader.u32();
  move->taken = reader.u64();
  move->consumed = reader.u64();
  move->setup = read_pair(&reader);
  return reader.done();
}

}  // namespace gossamer::verbs

#include "transports/tcp/word.h"

#include <algorithm>
#include <vector>

#include "src/auth.h"
#include "src/wire.h"

namespace gossamer::tcp {

namespace {

constexpr uint64_t kMagic = 0x64726F77'504D5347;  // begins otherwise than a handshake
constexpr size_t kSignedBytes = kWordBytes - 32;

}  // namespace

Word make_word(const TransportConfig& config, Rank to, const Record& notice) {
  WireWriter writer;
  writer.u64(kMagic);
  writer.u64(config.session);
  writer.i32(config.rank);
  writer.i32(to);
  writer.bytes(notice.view());
  writer.zeros(kSignedBytes - writer.size());
  writer.bytes(hmac_sha256(config.key, writer.data()));
  Word word{};
  std::copy(writer.data().begin(), writer.data().end(), word.begin());
  return word;
}

bool begins_word(std::span<const std::byte> bytes) {
  WireWriter magic;
  magic.u64(kMagic);
  const size_t known = std::min(bytes.size(), kWordMagicBytes);
  return std::equal(bytes.begin(), bytes.begin() + static_cast<ptrdiff_t>(known),
                    magic.data().begin());
}

bool read_word(const TransportConfig& config, const Word& word, Fault* fault) {
  const auto text = std::span<const std::byte>(word).first(kSignedBytes);
  const Key proof = hmac_sha256(config.key, text);
  if (!same_proof(proof, std::span<const std::byte>(word).subspan(kSignedBytes))) return false;
  WireReader reader(text);
  const bool known = reader.u64() == kMagic && reader.u64() == config.session;
  const Rank from = reader.i32();
  const Rank to = reader.i32();
  if (!known || from < 0 || from >= config.size || to != config.rank) return false;
  std::span<const std::byte> record = reader.bytes(reader.left());
  return RecordParser(config.size).next(&record, fault) == RecordParser::Found::kNotice;
}

}  // namespace gossamer::tcp

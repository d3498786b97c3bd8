#include "transports/tcp/frame.h"

#include <algorithm>
#include <cstring>

#include "src/check.h"

namespace gossamer::tcp {

namespace {

constexpr uint32_t kMagic = 0x4D535347;  // "GSSM"
constexpr size_t kUsedBytes = 24;        // of a header
constexpr size_t kNoticeBytesMin = 5;

template <class T>
void put(std::byte* into, T value) {
  for (size_t i = 0; i < sizeof(T); ++i) {
    into[i] = static_cast<std::byte>(static_cast<uint64_t>(value) >> (8 * i));
  }
}

template <class T>
T get(const std::byte* from) {
  uint64_t value = 0;
  for (size_t i = 0; i < sizeof(T); ++i) value |= std::to_integer<uint64_t>(from[i]) << (8 * i);
  return static_cast<T>(value);
}

}  // namespace

std::array<std::byte, kHeaderBytes> encode(const Header& header) {
  std::array<std::byte, kHeaderBytes> bytes{};
  put<uint32_t>(bytes.data(), kMagic);
  put<uint32_t>(bytes.data() + 4, header.sequence);
  put<uint64_t>(bytes.data() + 8, header.fingerprint);
  put<uint64_t>(bytes.data() + 16, header.bytes);
  return bytes;
}

bool decode(std::span<const std::byte, kHeaderBytes> from, Header* header) {
  header->sequence = get<uint32_t>(from.data() + 4);
  header->fingerprint = get<uint64_t>(from.data() + 8);
  header->bytes = get<uint64_t>(from.data() + 16);
  uint64_t rest = 0;
  for (size_t i = kUsedBytes; i < kHeaderBytes; i += 8) rest |= get<uint64_t>(from.data() + i);
  return get<uint32_t>(from.data()) == kMagic && rest == 0;
}

Record notice_record(const Fault& fault) {
  Record record;
  const size_t text = ::strnlen(fault.text.data(), kTextBytesMax);
  const size_t length = kNoticeBytesMin + text;
  put<uint8_t>(record.data.data(), static_cast<uint8_t>(RecordType::kNotice));
  put<uint16_t>(record.data.data() + 1, static_cast<uint16_t>(length));
  put<uint8_t>(record.data.data() + 3, static_cast<uint8_t>(fault.code));
  put<uint32_t>(record.data.data() + 4, static_cast<uint32_t>(fault.rank));
  std::memcpy(record.data.data() + 8, fault.text.data(), text);
  record.bytes = kRecordHeaderBytes + length;
  return record;
}

Record goodbye_record() {
  Record record;
  put<uint8_t>(record.data.data(), static_cast<uint8_t>(RecordType::kGoodbye));
  record.bytes = kRecordHeaderBytes;
  return record;
}

Record move_record(std::span<const std::byte> body) {
  Record record;
  GOSSAMER_CHECK(body.size() <= kRecordBytesMax);
  put<uint8_t>(record.data.data(), static_cast<uint8_t>(RecordType::kMove));
  put<uint16_t>(record.data.data() + 1, static_cast<uint16_t>(body.size()));
  std::copy(body.begin(), body.end(), record.data.begin() + kRecordHeaderBytes);
  record.bytes = kRecordHeaderBytes + body.size();
  return record;
}

RecordParser::Found RecordParser::next(std::span<const std::byte>* bytes, Fault* fault) {
  const auto take = [&](size_t until) {
    const size_t run = std::min(until - have_, bytes->size());
    std::copy_n(bytes->begin(), run, data_.begin() + static_cast<ptrdiff_t>(have_));
    have_ += run;
    *bytes = bytes->subspan(run);
    return have_ == until;
  };
  if (have_ < kRecordHeaderBytes && !take(kRecordHeaderBytes)) return Found::kNothing;
  const auto type = get<uint8_t>(data_.data());
  const size_t length = get<uint16_t>(data_.data() + 1);
  const bool notice = type == static_cast<uint8_t>(RecordType::kNotice) &&
                      length >= kNoticeBytesMin && length <= kRecordBytesMax;
  const bool goodbye = type == static_cast<uint8_t>(RecordType::kGoodbye) && length == 0;
  const bool move =
      moves_ && type == static_cast<uint8_t>(RecordType::kMove) && length <= kRecordBytesMax;
  if (!notice && !goodbye && !move) return Found::kGarbage;
  if (have_ < kRecordHeaderBytes + length && !take(kRecordHeaderBytes + length)) {
    return Found::kNothing;
  }
  have_ = 0;
  body_bytes_ = length;
  if (move) return Found::kMove;
  if (goodbye) return Found::kGoodbye;
  read_notice({data_.data() + kRecordHeaderBytes, length}, fault);
  return Found::kNotice;
}

void RecordParser::read_notice(std::span<const std::byte> body, Fault* fault) const {
  const auto code = get<uint8_t>(body.data());
  const bool error = code >= static_cast<uint8_t>(Code::kInvalidArgument) &&
                     code <= static_cast<uint8_t>(Code::kSystem);
  fault->code = error ? static_cast<Code>(code) : Code::kSystem;
  const auto rank = static_cast<Rank>(get<uint32_t>(body.data() + 1));
  fault->rank = rank >= 0 && rank < size_ ? rank : -1;
  fault->text = {};
  const auto text = body.subspan(kNoticeBytesMin);
  for (size_t i = 0; i < text.size(); ++i) {
    const auto c = std::to_integer<unsigned char>(text[i]);
    // It comes from another process and ends on a terminal: no control characters.
    fault->text[i] = c < 0x20 || c == 0x7F ? '?' : static_cast<char>(c);
  }
}

}  // namespace gossamer::tcp

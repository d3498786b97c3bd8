#include "src/compress/feedback/saved_state.h"

#include <fmt/format.h>

#include <cstring>

namespace gossamer {
namespace {

constexpr uint64_t kMagic = 0x31657461745347;  // "GState1"
constexpr uint32_t kFormat = 1;
constexpr size_t kHeaderBytes = 32;
constexpr size_t kPieceBytes = 32;
constexpr size_t kHashBytes = 8;

Status invalid(std::string message) {
  return Status::error(Code::kInvalidArgument, std::move(message));
}

// FNV-1a (Fowler, Noll and Vo), on words of 8 bytes: against accidents, not against forgery.
uint64_t hash_of(std::span<const std::byte> bytes) {
  uint64_t hash = 0xCBF29CE484222325;
  for (size_t at = 0; at < bytes.size(); at += sizeof(uint64_t)) {
    uint64_t word = 0;
    std::memcpy(&word, bytes.data() + at, std::min(sizeof word, bytes.size() - at));
    hash = (hash ^ word) * 0x100000001B3;
    hash ^= hash >> 32;
  }
  return hash;
}

template <class T>
void put(std::vector<std::byte>* out, T value) {
  const auto bytes = std::as_bytes(std::span<const T, 1>(&value, 1));
  out->insert(out->end(), bytes.begin(), bytes.end());
}

template <class T>
T get(std::span<const std::byte> from, size_t at) {
  T value;
  std::memcpy(&value, from.data() + at, sizeof value);
  return value;
}

Status check_frame(SavedState::Kind kind, std::span<const std::byte> saved) {
  if (saved.size() < kHeaderBytes + kHashBytes || get<uint64_t>(saved, 0) != kMagic) {
    return invalid("this is no saved state of error feedback; load what save() returned");
  }
  if (get<uint32_t>(saved, 8) != kFormat) {
    return invalid(fmt::format("the state was saved in format {}, this library reads {}",
                               get<uint32_t>(saved, 8), kFormat));
  }
  if (get<uint32_t>(saved, 12) != static_cast<uint32_t>(kind)) {
    return invalid("load() takes what save() returned, accept() what give() returned");
  }
  const size_t hashed = saved.size() - kHashBytes;
  if (hash_of(saved.first(hashed)) != get<uint64_t>(saved, hashed)) {
    return invalid("the saved state is damaged or cut off: its hash does not match");
  }
  return Status::ok();
}

}  // namespace

std::vector<std::byte> SavedState::write(Kind kind, uint64_t version,
                                         const std::vector<Parked>& pieces) {
  uint64_t values = 0;
  for (const Parked& one : pieces) values += one.values.size();
  std::vector<std::byte> out;
  out.reserve(kHeaderBytes + pieces.size() * kPieceBytes + values * sizeof(float) + kHashBytes);
  put(&out, kMagic);
  put(&out, kFormat);
  put(&out, static_cast<uint32_t>(kind));
  put(&out, version);
  put(&out, static_cast<uint64_t>(pieces.size()));
  for (const Parked& one : pieces) {
    put(&out, static_cast<uint64_t>(one.role));
    put(&out, one.piece.key);
    put(&out, one.piece.first);
    put(&out, one.piece.count);
  }
  for (const Parked& one : pieces) {
    const auto bytes = std::as_bytes(std::span(one.values));
    out.insert(out.end(), bytes.begin(), bytes.end());
  }
  put(&out, hash_of(out));
  return out;
}

Result<SavedState> SavedState::read(Kind kind, std::span<const std::byte> saved) {
  if (Status sound = check_frame(kind, saved); !sound) return sound;
  SavedState state;
  state.version = get<uint64_t>(saved, 16);
  const auto pieces = get<uint64_t>(saved, 24);
  const uint64_t body = saved.size() - kHeaderBytes - kHashBytes;
  if (pieces > body / kPieceBytes) return invalid("the saved state has fewer pieces than it says");
  uint64_t left = (body - pieces * kPieceBytes) / sizeof(float);
  size_t values_at = kHeaderBytes + pieces * kPieceBytes;
  for (uint64_t p = 0; p < pieces; ++p) {
    const size_t at = kHeaderBytes + p * kPieceBytes;
    Parked one;
    one.role = static_cast<Role>(get<uint64_t>(saved, at));
    one.piece = {get<uint64_t>(saved, at + 8), get<uint64_t>(saved, at + 16),
                 get<uint64_t>(saved, at + 24)};
    if (one.piece.count > left || one.piece.first > UINT64_MAX - one.piece.count) {
      return invalid("a piece of the saved state is longer than the state");
    }
    left -= one.piece.count;
    one.values.resize(one.piece.count);
    const size_t bytes = one.values.size() * sizeof(float);
    if (bytes > 0) std::memcpy(one.values.data(), saved.data() + values_at, bytes);
    values_at += bytes;
    state.pieces.push_back(std::move(one));
  }
  if (values_at + kHashBytes != saved.size()) {
    return invalid("the saved state has more values than its pieces");
  }
  return state;
}

}  // namespace gossamer

#include "gossip/methods/saved_state.h"

#include <fmt/format.h>

#include <cstring>

namespace gossamer {
namespace {

constexpr uint64_t kMagic = 0x31646F6874654D47;  // "GMethod1"
constexpr uint32_t kVersion = 1;
constexpr size_t kHeaderBytes = 24;
constexpr size_t kHashBytes = 8;

Status invalid(std::string message) {
  return Status::error(Code::kInvalidArgument, std::move(message));
}

// FNV-1a (Fowler, Noll and Vo, 1991): against accidents, not against forgery.
uint64_t hash_of(std::span<const std::byte> bytes) {
  uint64_t hash = 0xCBF29CE484222325;
  for (const std::byte b : bytes) hash = (hash ^ static_cast<uint64_t>(b)) * 0x100000001B3;
  return hash;
}

template <class T>
T read(std::span<const std::byte> from, size_t at) {
  T value;
  std::memcpy(&value, from.data() + at, sizeof value);
  return value;
}

}  // namespace

StateWriter::StateWriter(MethodKind kind, size_t body_bytes) {
  out_.reserve(kHeaderBytes + body_bytes + kHashBytes);
  number(kMagic);
  number(kVersion | static_cast<uint64_t>(kind) << 32);
  number(0);  // body bytes, known at the end
}

void StateWriter::number(uint64_t value) {
  bytes(std::as_bytes(std::span<const uint64_t, 1>(&value, 1)));
}

void StateWriter::real(double value) {
  bytes(std::as_bytes(std::span<const double, 1>(&value, 1)));
}

void StateWriter::bytes(std::span<const std::byte> bytes) {
  out_.insert(out_.end(), bytes.begin(), bytes.end());
}

void StateWriter::elements(uint64_t count, DataType type) {
  number(count);
  number(static_cast<uint64_t>(type));
}

std::vector<std::byte> StateWriter::finish() {
  const uint64_t body_bytes = out_.size() - kHeaderBytes;
  std::memcpy(out_.data() + 16, &body_bytes, sizeof body_bytes);
  number(hash_of(out_));
  return std::move(out_);
}

Result<StateReader> StateReader::open(MethodKind kind, std::span<const std::byte> saved) {
  if (saved.size() < kHeaderBytes + kHashBytes || read<uint64_t>(saved, 0) != kMagic) {
    return invalid("this is no saved state of this library; load what save() returned");
  }
  const auto version = read<uint64_t>(saved, 8);
  if (static_cast<uint32_t>(version) != kVersion) {
    return invalid(fmt::format("the state was saved in format {}, this library reads {}",
                               static_cast<uint32_t>(version), kVersion));
  }
  if (version >> 32 != static_cast<uint64_t>(kind)) {
    return invalid("the state is another method's; load it into a method of the class it is from");
  }
  const size_t body_bytes = saved.size() - kHeaderBytes - kHashBytes;
  if (read<uint64_t>(saved, 16) != body_bytes) {
    return invalid(fmt::format("the saved state has a body of {} bytes and says {}: it was cut off",
                               body_bytes, read<uint64_t>(saved, 16)));
  }
  const size_t hashed = kHeaderBytes + body_bytes;
  if (hash_of(saved.first(hashed)) != read<uint64_t>(saved, hashed)) {
    return invalid("the saved state is damaged: its hash does not match");
  }
  return StateReader(saved.subspan(kHeaderBytes, body_bytes));
}

std::span<const std::byte> StateReader::bytes(uint64_t count) {
  if (count > body_.size()) {
    refuse("the saved state ends too early");
    return {};
  }
  const std::span<const std::byte> taken = body_.first(count);
  body_ = body_.subspan(count);
  return taken;
}

uint64_t StateReader::number() {
  const std::span<const std::byte> from = bytes(sizeof(uint64_t));
  return from.empty() ? 0 : read<uint64_t>(from, 0);
}

double StateReader::real() {
  const std::span<const std::byte> from = bytes(sizeof(double));
  return from.empty() ? 0 : read<double>(from, 0);
}

void StateReader::expect(uint64_t own, const char* what) {
  const uint64_t saved = number();
  if (saved == own) return;
  refuse(fmt::format("the state was saved with {} {}, this method has {}", what, saved, own));
}

void StateReader::expect_elements(uint64_t count, DataType type) {
  expect(count, "count");
  expect(static_cast<uint64_t>(type), "element type");
}

void StateReader::take(uint64_t* into) {
  take(std::as_writable_bytes(std::span<uint64_t, 1>(into, 1)));
}

void StateReader::take(double* into) {
  take(std::as_writable_bytes(std::span<double, 1>(into, 1)));
}

void StateReader::take(std::span<std::byte> into) {
  taken_.push_back({into, bytes(into.size())});
}

void StateReader::refuse(std::string why) {
  if (failure_) failure_ = invalid(std::move(why));
}

Status StateReader::finish() {
  if (!failure_) return failure_;
  if (!body_.empty()) {
    return invalid(fmt::format("the saved state has {} bytes too many", body_.size()));
  }
  for (const Taken& one : taken_) {
    if (!one.into.empty()) std::memcpy(one.into.data(), one.from.data(), one.into.size());
  }
  return Status::ok();
}

}  // namespace gossamer

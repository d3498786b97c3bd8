#include "gossip/job/ledger.h"

#include <cmath>
#include <cstring>

namespace gossamer::job {
namespace {

template <class T>
void widen(double* mass, const void* z, uint64_t count) {
  const T* const from = static_cast<const T*>(z);
  for (uint64_t i = 0; i < count; ++i) mass[i] = static_cast<double>(from[i]);
}

template <class T>
void divide(void* z, const double* mass, uint64_t count, double weight) {
  T* const out = static_cast<T*>(z);
  for (uint64_t i = 0; i < count; ++i) out[i] = static_cast<T>(mass[i] / weight);
}

template <class T>
void subtract_scaled(double* mass, const void* gradient, uint64_t count, double scale) {
  const T* const g = static_cast<const T*>(gradient);
  for (uint64_t i = 0; i < count; ++i) mass[i] -= scale * static_cast<double>(g[i]);
}

// What leaves is what is written: its rounding stays with the sender.
template <class T>
void give(std::byte* to, double* mass, uint64_t count, double share) {
  for (uint64_t i = 0; i < count; ++i) {
    const T part = static_cast<T>(mass[i] * share);
    std::memcpy(to + i * sizeof(T), &part, sizeof(T));
    mass[i] -= static_cast<double>(part);
  }
}

template <class T>
void accept(double* mass, const std::byte* from, uint64_t count) {
  for (uint64_t i = 0; i < count; ++i) {
    T part;
    std::memcpy(&part, from + i * sizeof(T), sizeof(T));
    mass[i] += static_cast<double>(part);
  }
}

}  // namespace

Ledger::Ledger(uint64_t count, DataType type) : count_(count), type_(type), mass_(count) {}

void Ledger::begin(const void* z) {
  const auto fill = type_ == DataType::kFloat64 ? widen<double> : widen<float>;
  fill(mass_.data(), z, count_);
  weight_ = 1;
}

bool Ledger::value(void* z) const {
  if (weight_ <= 0) return false;
  const auto fill = type_ == DataType::kFloat64 ? divide<double> : divide<float>;
  fill(z, mass_.data(), count_, weight_);
  return true;
}

void Ledger::adapt(const void* gradient, double rate) {
  const auto subtract =
      type_ == DataType::kFloat64 ? subtract_scaled<double> : subtract_scaled<float>;
  subtract(mass_.data(), gradient, count_, rate * weight_);
}

bool Ledger::may_push(PeerId to) const {
  if (weight_ <= 0) return false;
  const auto at = out_.find(to);
  return at == out_.end() || at->second.packet == nullptr;
}

std::shared_ptr<const Packet> Ledger::push(PeerId to, uint64_t steps) {
  return send(to, steps, 0.5);
}

std::shared_ptr<const Packet> Ledger::push_all(PeerId to, uint64_t steps) {
  return send(to, steps, 1);
}

std::shared_ptr<const Packet> Ledger::send(PeerId to, uint64_t steps, double share) {
  if (!may_push(to)) return nullptr;
  keep_off_the_floor();
  Out& out = out_[to];
  if (out.lane == 0) out.lane = ++lanes_;
  auto packet = std::make_shared<Packet>();
  packet->lane = out.lane;
  packet->sequence = ++out.sequence;
  packet->steps = steps;
  packet->weight = weight_ * share;
  weight_ -= packet->weight;
  // In float32 a part of all would stay here for ever.
  packet->wide = share == 1 || type_ == DataType::kFloat64;
  packet->elements.resize(count_ * (packet->wide ? sizeof(double) : sizeof(float)));
  const auto hand = packet->wide ? give<double> : give<float>;
  hand(packet->elements.data(), mass_.data(), count_, share);
  out.packet = std::move(packet);
  ++totals_.pushes;
  return out.packet;
}

// Powers of 2 change no digit.
void Ledger::keep_off_the_floor() {
  if (weight_ >= kWeightFloor) return;
  weight_ /= kWeightFloor;
  for (double& mass : mass_) mass /= kWeightFloor;
}

std::shared_ptr<const Packet> Ledger::under_way(PeerId to) const {
  const auto at = out_.find(to);
  return at == out_.end() ? nullptr : at->second.packet;
}

bool Ledger::confirm(PeerId to, uint64_t lane, uint64_t sequence) {
  const auto at = out_.find(to);
  if (at == out_.end() || at->second.packet == nullptr || at->second.lane != lane ||
      at->second.sequence != sequence) {
    return false;
  }
  at->second.packet = nullptr;
  return true;
}

Ledger::Taken Ledger::take(PeerId from, const Packet& packet) {
  const bool wide = packet.wide || type_ == DataType::kFloat64;
  if (packet.elements.size() != count_ * (wide ? sizeof(double) : sizeof(float)) ||
      !std::isfinite(packet.weight) || packet.weight <= 0 || packet.lane == 0 ||
      packet.sequence == 0) {
    return Taken::kMalformed;
  }
  const auto at = in_.find(from);
  const uint64_t lane = at == in_.end() ? 0 : at->second.lane;
  if (packet.lane < lane || (packet.lane > lane && packet.sequence != 1)) {
    return Taken::kUnknownLane;
  }
  if (packet.lane == lane) {
    if (packet.sequence <= at->second.sequence) return Taken::kBefore;
    if (packet.sequence != at->second.sequence + 1) return Taken::kMalformed;
  }
  in_[from] = {packet.lane, packet.sequence};
  add(packet);
  ++totals_.takes;
  return Taken::kTaken;
}

void Ledger::add(const Packet& packet) {
  const bool wide = packet.wide || type_ == DataType::kFloat64;
  const auto take_in = wide ? accept<double> : accept<float>;
  take_in(mass_.data(), packet.elements.data(), count_);
  weight_ += packet.weight;
}

void Ledger::take_back(PeerId to) {
  const auto at = out_.find(to);
  if (at == out_.end()) return;
  if (at->second.packet != nullptr) {
    add(*at->second.packet);
    totals_.taken_back += at->second.packet->weight;
  }
  out_.erase(at);
}

void Ledger::forget(PeerId peer) {
  take_back(peer);
  in_.erase(peer);
}

Ledger::Totals Ledger::totals() const {
  Totals totals = totals_;
  for (const auto& [id, out] : out_) {
    if (out.packet != nullptr) totals.under_way += out.packet->weight;
  }
  return totals;
}

}  // namespace gossamer::job

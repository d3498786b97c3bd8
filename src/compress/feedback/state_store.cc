// The vectors of error feedback: by parameter, staged, and handed from rank to rank.

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "src/check.h"
#include "src/compress/feedback/saved_state.h"

namespace gossamer {
namespace {

Status invalid(std::string message) {
  return Status::error(Code::kInvalidArgument, std::move(message));
}

// x + -0 is x in every bit, for zeros of either sign too.
constexpr float kNothing = -0.0F;

bool overlap(const StatePiece& a, const StatePiece& b) {
  return a.key == b.key && a.first < b.first + b.count && b.first < a.first + a.count;
}

// to[i] += from[i] where the pieces overlap.
void add_overlap(const StatePiece& to, std::span<float> into, const StatePiece& from,
                 std::span<const float> values) {
  const uint64_t begin = std::max(to.first, from.first);
  const uint64_t end = std::min(to.first + to.count, from.first + from.count);
  for (uint64_t e = begin; e < end; ++e) into[e - to.first] += values[e - from.first];
}

Status check_pieces(std::span<const StateBucket> buckets) {
  std::vector<StatePiece> all;
  for (const StateBucket& bucket : buckets) {
    for (const StatePiece& piece : bucket) {
      if (piece.first > UINT64_MAX - piece.count) {
        return invalid(fmt::format("a piece of parameter {:#x} begins at {} and has {} elements",
                                   piece.key, piece.first, piece.count));
      }
      if (piece.count > 0) all.push_back(piece);
    }
  }
  std::sort(all.begin(), all.end(), [](const StatePiece& a, const StatePiece& b) {
    return a.key != b.key ? a.key < b.key : a.first < b.first;
  });
  for (size_t i = 1; i < all.size(); ++i) {
    if (!overlap(all[i - 1], all[i])) continue;
    return invalid(
        fmt::format("element {} of parameter {:#x} is in two pieces; register each "
                    "parameter once",
                    all[i].first, all[i].key));
  }
  return Status::ok();
}

}  // namespace

ParameterKey parameter_key(std::string_view name) {
  uint64_t hash = 0xCBF29CE484222325;
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001B3;
  return hash;
}

Status StateStore::check_idle(const char* what) const {
  if (!has_staged()) return Status::ok();
  return invalid(
      fmt::format("{} while an iteration is staged: commit() or rollback() it first", what));
}

// Pieces with their values, as copies.
std::vector<StateStore::Parked> StateStore::listed(Role role, Give what) const {
  std::vector<Parked> pieces;
  const auto found = placed_.find(role);
  if (what == Give::kAll && found != placed_.end()) {
    for (const Placed& bucket : found->second) {
      const float* at = bucket.now().data();
      for (const StatePiece& piece : bucket.pieces) {
        pieces.push_back({role, piece, std::vector<float>(at, at + piece.count)});
        at += piece.count;
      }
    }
  }
  for (const Parked& one : parked_) {
    if (one.role == role) pieces.push_back(one);
  }
  return pieces;
}

// Adds what is parked wherever it has a place; what has none stays parked.
void StateStore::place_parked(Role role) {
  std::vector<Parked> rest;
  for (Parked& one : parked_) {
    if (one.role != role) {
      rest.push_back(std::move(one));
      continue;
    }
    std::vector<StatePiece> covered;
    for (Placed& bucket : placed_[role]) {
      uint64_t at = 0;
      for (const StatePiece& piece : bucket.pieces) {
        if (overlap(piece, one.piece)) {
          add_overlap(piece, bucket.now().subspan(at, piece.count), one.piece, one.values);
          covered.push_back(piece);
        }
        at += piece.count;
      }
    }
    std::sort(covered.begin(), covered.end(),
              [](const StatePiece& a, const StatePiece& b) { return a.first < b.first; });
    uint64_t next = one.piece.first;
    const auto keep_until = [&](uint64_t end) {
      if (end <= next) return;
      const auto begin = one.values.begin() + static_cast<ptrdiff_t>(next - one.piece.first);
      rest.push_back({role,
                      {one.piece.key, next, end - next},
                      std::vector<float>(begin, begin + static_cast<ptrdiff_t>(end - next))});
    };
    for (const StatePiece& piece : covered) {
      keep_until(piece.first);
      next = std::max(next, piece.first + piece.count);
    }
    keep_until(one.piece.first + one.piece.count);
  }
  parked_ = std::move(rest);
}

Status StateStore::arrange(Role role, std::span<const StateBucket> buckets) {
  if (Status idle = check_idle("arrange()"); !idle) return idle;
  if (Status sound = check_pieces(buckets); !sound) return sound;
  std::vector<Parked> all = listed(role, Give::kAll);
  std::erase_if(parked_, [&](const Parked& one) { return one.role == role; });
  std::move(all.begin(), all.end(), std::back_inserter(parked_));
  std::vector<Placed>& places = placed_[role];
  places.clear();
  for (const StateBucket& bucket : buckets) {
    Placed placed;
    placed.pieces = bucket;
    uint64_t count = 0;
    for (const StatePiece& piece : bucket) count += piece.count;
    for (std::vector<float>& side : placed.sides) side.assign(count, kNothing);
    places.push_back(std::move(placed));
  }
  place_parked(role);
  return Status::ok();
}

size_t StateStore::buckets(Role role) const {
  const auto found = placed_.find(role);
  return found == placed_.end() ? 0 : found->second.size();
}

const StateStore::Placed& StateStore::placed(Role role, size_t bucket) const {
  const auto found = placed_.find(role);
  GOSSAMER_CHECK(found != placed_.end() && bucket < found->second.size());
  return found->second[bucket];
}

std::span<const float> StateStore::committed(Role role, size_t bucket) const {
  return placed(role, bucket).now();
}

const StateBucket& StateStore::pieces(Role role, size_t bucket) const {
  return placed(role, bucket).pieces;
}

std::span<float> StateStore::stage(Role role, size_t bucket) {
  auto& one = const_cast<Placed&>(placed(role, bucket));
  one.staged = true;
  return one.sides[1 - one.current];
}

std::span<const float> StateStore::of(Role role, ParameterKey key, uint64_t first) const {
  for (size_t b = 0; b < buckets(role); ++b) {
    const Placed& bucket = placed(role, b);
    uint64_t at = 0;
    for (const StatePiece& piece : bucket.pieces) {
      if (piece.key == key && piece.first == first) return bucket.now().subspan(at, piece.count);
      at += piece.count;
    }
  }
  return {};
}

bool StateStore::has_staged() const {
  for (const auto& [role, buckets] : placed_) {
    for (const Placed& bucket : buckets) {
      if (bucket.staged) return true;
    }
  }
  return false;
}

void StateStore::commit() {
  for (auto& [role, buckets] : placed_) {
    for (Placed& bucket : buckets) {
      if (bucket.staged) bucket.current = 1 - bucket.current;
      bucket.staged = false;
    }
  }
  ++version_;
}

void StateStore::rollback() {
  for (auto& [role, buckets] : placed_) {
    for (Placed& bucket : buckets) bucket.staged = false;
  }
}

Status StateStore::scale(Role role, float factor) {
  if (Status idle = check_idle("scale()"); !idle) return idle;
  if (!std::isfinite(factor)) return invalid("state is scaled by a factor that is not finite");
  if (const auto found = placed_.find(role); found != placed_.end()) {
    for (Placed& bucket : found->second) {
      for (float& value : bucket.now()) value *= factor;
    }
  }
  for (Parked& one : parked_) {
    if (one.role != role) continue;
    for (float& value : one.values) value *= factor;
  }
  return Status::ok();
}

Status StateStore::forget(Role role) {
  if (Status idle = check_idle("forget()"); !idle) return idle;
  placed_.erase(role);
  std::erase_if(parked_, [&](const Parked& one) { return one.role == role; });
  return Status::ok();
}

std::vector<std::byte> StateStore::save() const {
  std::vector<Parked> all;
  for (const auto& [role, buckets] : placed_) {
    std::vector<Parked> pieces = listed(role, Give::kAll);
    std::move(pieces.begin(), pieces.end(), std::back_inserter(all));
  }
  for (const Parked& one : parked_) {
    if (!placed_.contains(one.role)) all.push_back(one);
  }
  return SavedState::write(SavedState::Kind::kStore, version_, all);
}

Status StateStore::load(std::span<const std::byte> saved) {
  if (Status idle = check_idle("load()"); !idle) return idle;
  Result<SavedState> state = SavedState::read(SavedState::Kind::kStore, saved);
  if (!state) return state.status();
  version_ = state->version;
  parked_ = std::move(state->pieces);
  for (auto& [role, buckets] : placed_) {
    for (Placed& bucket : buckets) std::fill(bucket.now().begin(), bucket.now().end(), kNothing);
    place_parked(role);
  }
  return Status::ok();
}

std::vector<std::byte> StateStore::gift(Give what) const {
  std::vector<Parked> pieces;
  for (const auto& [role, buckets] : placed_) {
    if (what == Give::kParked || !is_residual(role)) continue;
    std::vector<Parked> own = listed(role, Give::kAll);
    std::move(own.begin(), own.end(), std::back_inserter(pieces));
  }
  for (const Parked& one : parked_) {
    const bool listed_above = what == Give::kAll && placed_.contains(one.role);
    if (is_residual(one.role) && !listed_above) pieces.push_back(one);
  }
  return SavedState::write(SavedState::Kind::kGift, version_, pieces);
}

void StateStore::clear_residuals(Give what) {
  std::erase_if(parked_, [](const Parked& one) { return is_residual(one.role); });
  for (auto& [role, buckets] : placed_) {
    if (what == Give::kParked || !is_residual(role)) continue;
    for (Placed& bucket : buckets) std::fill(bucket.now().begin(), bucket.now().end(), kNothing);
  }
}

Result<std::vector<std::byte>> StateStore::give(Give what) {
  if (Status idle = check_idle("give()"); !idle) return idle;
  std::vector<std::byte> given = gift(what);
  clear_residuals(what);
  return given;
}

Status StateStore::accept(std::span<const std::byte> given) {
  if (Status idle = check_idle("accept()"); !idle) return idle;
  Result<SavedState> gift = SavedState::read(SavedState::Kind::kGift, given);
  if (!gift) return gift.status();
  for (SavedState::Parked& one : gift->pieces) {
    // Of two that are parked each is added where it finds its place.
    const Role role = one.role;
    parked_.push_back(std::move(one));
    if (placed_.contains(role)) place_parked(role);
  }
  return Status::ok();
}

}  // namespace gossamer

// Residuals whose parts have changed owners, on their way to those who have a place for them now.
//
//   Messages   One number from each rank; where any has something parked, the places of all to all
//              (role, key, first element and count, 8 bytes each), then to each rank, as give()
//              writes it, what goes there; then one number again.

#include <fmt/format.h>

#include <algorithm>

#include "gossamer/communicator.h"
#include "src/compress/feedback/saved_state.h"

namespace gossamer {
namespace {

using Parked = SavedState::Parked;

struct Place {
  uint64_t role = 0;
  StatePiece piece;
};
constexpr uint64_t kPlaceWords = sizeof(Place) / sizeof(uint64_t);
static_assert(kPlaceWords == 4);

Parked part_of(const Parked& whole, uint64_t first, uint64_t end) {
  const auto begin = whole.values.begin() + static_cast<ptrdiff_t>(first - whole.piece.first);
  return {whole.role,
          {whole.piece.key, first, end - first},
          std::vector<float>(begin, begin + static_cast<ptrdiff_t>(end - first))};
}

// Moves what of `from` fits into the place to `gift`; what is left stays in `from`.
void move_overlap(const Place& place, std::vector<Parked>* from, std::vector<Parked>* gift) {
  std::vector<Parked> rest;
  for (Parked& one : *from) {
    const uint64_t end = one.piece.first + one.piece.count;
    const uint64_t begin = std::max(one.piece.first, place.piece.first);
    const uint64_t until = std::min(end, place.piece.first + place.piece.count);
    const bool fits = static_cast<uint64_t>(one.role) == place.role &&
                      one.piece.key == place.piece.key && begin < until;
    if (!fits) {
      rest.push_back(std::move(one));
      continue;
    }
    gift->push_back(part_of(one, begin, until));
    if (one.piece.first < begin) rest.push_back(part_of(one, one.piece.first, begin));
    if (until < end) rest.push_back(part_of(one, until, end));
  }
  *from = std::move(rest);
}

// Everybody's places, by rank.
Result<std::vector<std::vector<Place>>> gather_places(Communicator& comm,
                                                      const std::vector<Place>& mine) {
  const auto ranks = static_cast<size_t>(comm.size());
  const uint64_t own = mine.size() * kPlaceWords;
  std::vector<uint64_t> counts(ranks);
  std::vector<uint64_t> displacements(ranks);
  Status done = comm.all_gather(&own, counts.data(), 1, DataType::kUint64);
  if (!done) return done;
  uint64_t sum = 0;
  for (size_t r = 0; r < ranks; ++r) {
    displacements[r] = sum;
    sum += counts[r];
    if (counts[r] % kPlaceWords != 0 || sum > uint64_t{1} << 40) {
      return Status::error(Code::kMismatch,
                           fmt::format("rank {} has {} numbers of places", r, counts[r]),
                           static_cast<Rank>(r));
    }
  }
  std::vector<Place> all(sum / kPlaceWords);
  done =
      comm.all_gather_v(mine.data(), own, all.data(), {counts, displacements}, DataType::kUint64);
  if (!done) return done;
  std::vector<std::vector<Place>> by_rank(ranks);
  for (size_t r = 0; r < ranks; ++r) {
    const Place* const first = all.data() + displacements[r] / kPlaceWords;
    by_rank[r].assign(first, first + counts[r] / kPlaceWords);
  }
  return by_rank;
}

// gifts[r] goes to rank r; what comes is in rank order.
Result<std::vector<SavedState>> exchange_gifts(Communicator& comm, uint64_t version,
                                               const std::vector<std::vector<Parked>>& gifts) {
  const size_t ranks = gifts.size();
  std::vector<std::byte> sent;
  std::vector<uint64_t> counts(ranks), at(ranks), counts_in(ranks), at_in(ranks);
  for (size_t r = 0; r < ranks; ++r) {
    const std::vector<std::byte> gift =
        SavedState::write(SavedState::Kind::kGift, version, gifts[r]);
    at[r] = sent.size();
    counts[r] = gift.size();
    sent.insert(sent.end(), gift.begin(), gift.end());
  }
  Status done = comm.all_to_all(counts.data(), counts_in.data(), 1, DataType::kUint64);
  if (!done) return done;
  uint64_t bytes = 0;
  for (size_t r = 0; r < ranks; ++r) {
    at_in[r] = bytes;
    bytes += counts_in[r];
    if (counts_in[r] <= uint64_t{1} << 40) continue;
    return Status::error(Code::kMismatch,
                         fmt::format("rank {} hands out {} bytes", r, counts_in[r]),
                         static_cast<Rank>(r));
  }
  std::vector<std::byte> arrived(bytes);
  done = comm.all_to_all_v(sent.data(), {counts, at}, arrived.data(), {counts_in, at_in},
                           DataType::kUint8);
  if (!done) return done;
  std::vector<SavedState> states;
  for (size_t r = 0; r < ranks; ++r) {
    const std::span<const std::byte> gift = std::span(arrived).subspan(at_in[r], counts_in[r]);
    Result<SavedState> state = SavedState::read(SavedState::Kind::kGift, gift);
    if (!state) {
      return Status::error(Code::kMismatch, state.status().message(), static_cast<Rank>(r));
    }
    states.push_back(std::move(state).value());
  }
  return states;
}

}  // namespace

Status StateStore::hand_out(Communicator& comm) {
  if (Status idle = check_idle("hand_out()"); !idle) return idle;
  uint64_t parked = 0;
  for (const Parked& one : parked_) parked += is_residual(one.role) ? 1 : 0;
  Status done = comm.all_reduce(std::span(&parked, 1), ReduceOp::kMax);
  if (!done || parked == 0) return done;
  std::vector<Place> mine;
  for (const auto& [role, buckets] : placed_) {
    for (const Placed& bucket : buckets) {
      if (!is_residual(role)) continue;
      for (const StatePiece& piece : bucket.pieces) {
        if (piece.count > 0) mine.push_back({static_cast<uint64_t>(role), piece});
      }
    }
  }
  const auto places = gather_places(comm, mine);
  if (!places) return places.status();
  std::vector<Parked> kept;
  std::vector<Parked> going;
  for (const Parked& one : parked_) (is_residual(one.role) ? going : kept).push_back(one);
  std::vector<std::vector<Parked>> gifts(places->size());
  for (size_t r = 0; r < gifts.size(); ++r) {
    for (const Place& place : (*places)[r]) move_overlap(place, &going, &gifts[r]);
  }
  Result<std::vector<SavedState>> arrived = exchange_gifts(comm, version_, gifts);
  uint64_t failed = arrived ? 0 : 1;
  if (!comm.status()) return comm.status();
  done = comm.all_reduce(std::span(&failed, 1), ReduceOp::kMax);
  if (!arrived) return arrived.status();
  if (done && failed != 0) {
    done = Status::error(Code::kMismatch, "another rank cannot read what it was handed out");
  }
  if (!done) return done;
  std::move(going.begin(), going.end(), std::back_inserter(kept));
  parked_ = std::move(kept);
  for (SavedState& state : *arrived) {
    std::move(state.pieces.begin(), state.pieces.end(), std::back_inserter(parked_));
  }
  for (auto& [role, buckets] : placed_) {
    if (is_residual(role)) place_parked(role);
  }
  return done;
}

Status StateStore::reassign_parked(Role from, Role to) {
  if (Status idle = check_idle("reassign_parked()"); !idle) return idle;
  for (Parked& one : parked_) {
    if (one.role == from) one.role = to;
  }
  if (placed_.contains(to)) place_parked(to);
  return Status::ok();
}

}  // namespace gossamer

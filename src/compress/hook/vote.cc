#include "src/compress/hook/vote.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

namespace gossamer {
namespace {

constexpr size_t kIteration = 0;
constexpr size_t kLayout = 8;
constexpr size_t kMarks = 16;  // failure, and above it the parameter that is not finite
constexpr size_t kBits = 24;

}  // namespace

VoteBoard::VoteBoard(Rank rank, Rank size, size_t parameters)
    : rank_(rank), size_(size), parameters_(parameters), bits_bytes_((parameters + 7) / 8) {
  stride_ = (kBits + 2 * bits_bytes_ + 7) / 8 * 8;
  bytes_.resize(stride_ * static_cast<size_t>(size));
}

uint64_t VoteBoard::word(Rank rank, size_t at) const {
  uint64_t value = 0;
  std::memcpy(&value, vote(rank) + at, sizeof value);
  return value;
}

void VoteBoard::set_word(size_t at, uint64_t value) {
  std::memcpy(bytes_.data() + stride_ * rank_ + at, &value, sizeof value);
}

bool VoteBoard::bit(Rank rank, size_t from, size_t i) const {
  return (static_cast<uint8_t>(vote(rank)[from + i / 8]) >> (i % 8) & 1) != 0;
}

void VoteBoard::set_bit(size_t from, size_t i) {
  bytes_[stride_ * rank_ + from + i / 8] |= static_cast<std::byte>(1 << (i % 8));
}

void VoteBoard::clear(uint64_t iteration, uint64_t layout) {
  std::memset(bytes_.data() + stride_ * rank_, 0, stride_);
  set_word(kIteration, iteration);
  set_word(kLayout, layout);
}

void VoteBoard::set_ready(size_t parameter, bool contributes) {
  set_bit(kBits, parameter);
  if (contributes) set_bit(kBits + bits_bytes_, parameter);
}

void VoteBoard::set_failure(Code code) {
  set_word(kMarks, word(rank_, kMarks) | static_cast<uint64_t>(code));
}

void VoteBoard::set_not_finite(size_t parameter) {
  set_word(kMarks, (word(rank_, kMarks) & UINT32_MAX) | (parameter + 1) << 32);
}

Status VoteBoard::check() const {
  for (Rank r = 0; r < size_; ++r) {
    if (word(r, kIteration) != word(rank_, kIteration)) {
      return Status::error(
          Code::kMismatch,
          fmt::format("rank {} is in iteration {} of its gradient hook and this rank in {}; all "
                      "ranks load() states of one iteration",
                      r, word(r, kIteration), word(rank_, kIteration)),
          r);
    }
    if (word(r, kLayout) != word(rank_, kLayout)) {
      return Status::error(Code::kMismatch,
                           fmt::format("rank {} has other buckets in its gradient hook; all ranks "
                                       "load() states of one run",
                                       r),
                           r);
    }
  }
  return Status::ok();
}

Code VoteBoard::failure(Rank rank) const {
  return static_cast<Code>(word(rank, kMarks) & 0xFF);
}

Rank VoteBoard::first_failed() const {
  for (Rank r = 0; r < size_; ++r) {
    if (failure(r) != Code::kOk) return r;
  }
  return -1;
}

Rank VoteBoard::first_not_finite(size_t* parameter) const {
  for (Rank r = 0; r < size_; ++r) {
    const uint64_t place = word(r, kMarks) >> 32;
    if (place == 0 || place > parameters_) continue;
    *parameter = place - 1;
    return r;
  }
  return -1;
}

bool VoteBoard::ready(Rank rank, size_t parameter) const {
  return bit(rank, kBits, parameter);
}

bool VoteBoard::contributes(Rank rank, size_t parameter) const {
  return bit(rank, kBits + bits_bytes_, parameter);
}

bool VoteBoard::ready_everywhere(const Bucket& bucket) const {
  return std::all_of(bucket.parts.begin(), bucket.parts.end(), [&](const Bucket::Part& part) {
    for (Rank r = 0; r < size_; ++r) {
      if (!ready(r, part.parameter)) return false;
    }
    return true;
  });
}

uint32_t VoteBoard::contributors(size_t parameter) const {
  uint32_t sum = 0;
  for (Rank r = 0; r < size_; ++r) sum += contributes(r, parameter) ? 1 : 0;
  return sum;
}

Status VoteBoard::describe_failure(const ParameterList& parameters) const {
  const Rank failed = first_failed();
  const Code code = failure(failed);
  const uint64_t iteration = word(failed, kIteration);
  if (code == Code::kTimeout) {
    const auto missing = [&](size_t i) { return !ready(failed, i); };
    return Status::error(
        code,
        fmt::format("iteration {} of the gradient hook: rank {} has not made {} ready in time, nor "
                    "skipped it",
                    iteration, failed, list_of(parameters, missing)),
        failed);
  }
  return Status::error(
      Code::kAborted,
      fmt::format("iteration {} of the gradient hook failed on rank {} ({}); wait() says there why",
                  iteration, failed, name_of(code)),
      failed);
}

void choose_launches(const VoteBoard& votes, std::span<const Bucket> buckets,
                     const std::vector<bool>& launched, std::vector<uint32_t>* launches) {
  const size_t before = launches->size();
  bool all = true;
  for (uint32_t b = 0; b < buckets.size(); ++b) {
    if (launched[b]) continue;
    if (votes.ready_everywhere(buckets[b])) {
      launches->push_back(b);
    } else {
      all = false;
    }
  }
  const auto first = launches->begin() + static_cast<ptrdiff_t>(before);
  std::sort(first, launches->end(), [&](uint32_t a, uint32_t b) {
    return buckets[a].first_needed < buckets[b].first_needed;
  });
  if (!all && launches->size() > before + 1) launches->resize(before + 1);
}

}  // namespace gossamer

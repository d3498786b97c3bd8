#include "transports/verbs/request_id.h"

namespace gossamer::verbs {
namespace {

constexpr unsigned kPairShift = 48;
constexpr unsigned kAttemptShift = 42;
constexpr unsigned kNotesShift = 41;
constexpr unsigned kReceivedShift = 40;

}  // namespace

uint64_t RequestId::pack() const {
  return uint64_t{pair} << kPairShift | uint64_t{attempt} << kAttemptShift |
         uint64_t{notes} << kNotesShift | uint64_t{received} << kReceivedShift |
         (number & kNumberMask);
}

RequestId RequestId::unpack(uint64_t id) {
  return {static_cast<uint16_t>(id >> kPairShift),
          static_cast<uint8_t>(id >> kAttemptShift & kAttemptMask), (id >> kNotesShift & 1) != 0,
          (id >> kReceivedShift & 1) != 0, id & kNumberMask};
}

}  // namespace gossamer::verbs

#include "src/compress/integer_sums.h"

#include <fmt/format.h>

#include <cstring>

namespace gossamer {
namespace {

// Calls use(Number()) with the type of so many bytes.
template <class Use>
void with_number(uint64_t bytes, const Use& use) {
  if (bytes == 1) return use(uint8_t{0});
  if (bytes == 2) return use(uint16_t{0});
  use(uint32_t{0});
}

}  // namespace

void put_numbers(uint64_t bytes, std::span<const uint8_t> terms, std::byte* sum) {
  if (bytes == 1) {
    std::memcpy(sum, terms.data(), terms.size());
    return;
  }
  with_number(bytes, [&](auto number) {
    for (uint64_t i = 0; i < terms.size(); ++i) {
      number = terms[i];
      std::memcpy(sum + i * sizeof number, &number, sizeof number);
    }
  });
}

void add_numbers(uint64_t bytes, std::span<const uint8_t> terms, std::byte* sum) {
  with_number(bytes, [&](auto number) {
    for (uint64_t i = 0; i < terms.size(); ++i) {
      std::memcpy(&number, sum + i * sizeof number, sizeof number);
      number = static_cast<decltype(number)>(number + terms[i]);
      std::memcpy(sum + i * sizeof number, &number, sizeof number);
    }
  });
}

void get_numbers(uint64_t bytes, const std::byte* sum, int64_t less, std::span<float> into) {
  with_number(bytes, [&](auto number) {
    for (uint64_t i = 0; i < into.size(); ++i) {
      std::memcpy(&number, sum + i * sizeof number, sizeof number);
      if constexpr (sizeof number < sizeof(uint32_t)) {  // fits 32 bits, which vectors convert
        into[i] = static_cast<float>(static_cast<int32_t>(number) - static_cast<int32_t>(less));
      } else {
        into[i] = static_cast<float>(static_cast<int64_t>(number) - less);
      }
    }
  });
}

Status same_scale(const Codec& codec, const std::byte* code, const std::byte* sum, uint64_t block) {
  if (std::memcmp(code, sum, sizeof(float)) == 0) return Status::ok();
  float mine = 0;
  float theirs = 0;
  std::memcpy(&mine, sum, sizeof mine);
  std::memcpy(&theirs, code, sizeof theirs);
  return Status::error(
      Code::kMismatch,
      fmt::format("block {} of a code of {} has scale {} and the sum has {}; codes are added where "
                  "ranks have agreed on scales, as an all_reduce does",
                  block, codec.name(), theirs, mine));
}

}  // namespace gossamer

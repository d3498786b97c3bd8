// The names of the codecs that this process has planned calls with, so that an error about two of
// them can name both: messages carry only a few bits of a codec's identity.
//
// Threads    Any.
// Bounds     The last kCodecNamesMax.

#pragma once

#include <cstdint>
#include <string>

namespace gossamer {

inline constexpr size_t kCodecNamesMax = 64;
inline constexpr int kCodecTagBits = 12;

// What a message carries of an identity.
inline uint32_t codec_tag(uint64_t identity) {
  return static_cast<uint32_t>(identity >> (64 - kCodecTagBits));
}

void remember_codec(uint64_t identity, const std::string& name);
// "codec int8:block=256", of the youngest with this tag, or of those that there are with their
// defaults; "a codec that this process has not used".
std::string describe_codec(uint32_t tag);

}  // namespace gossamer

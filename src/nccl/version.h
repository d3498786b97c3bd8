// Which NCCL this library says it is.

#pragma once

namespace gossamer::nccl {

// Programs compare it with the version whose calls they need; these are 2.28.9's. Five digits:
// some take it apart by decimal places.
inline constexpr int kMajor = 2;
inline constexpr int kMinor = 28;
inline constexpr int kPatch = 9;
inline constexpr int kVersion = kMajor * 10000 + kMinor * 100 + kPatch;

}  // namespace gossamer::nccl

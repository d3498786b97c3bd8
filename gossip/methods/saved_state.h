// What a method's save() writes and its load() takes, checked before anything of it is believed.
//
//   Format     magic 8, version 4, method 4, body bytes 8, the body, a hash 8 of all before it;
//              numbers in the machine's own byte order (the magic of another one does not match)
//   Checks     a reader is opened on bytes that are whole and of the method asked for; it never
//              reads beyond the body, and finish() tells whether it was read to its end.
//   Threads    Pure values.

#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "gossamer/status.h"
#include "gossamer/types.h"

namespace gossamer {

enum class MethodKind : uint32_t {
  kDecentralizedSgd = 1,
  kPushSum = 2,
  kRunningPushSum = 3,
  kLocalSgd = 4,
  kDiLoCo = 5,
  kChoco = 6,
  kPairwiseSgd = 7,
  kOverlapPushSum = 8,
  kGradientTracking = 9,
  kExactDiffusion = 10,
  kExtra = 11,
  kQuasiGlobalMomentum = 12,
  kRelaySum = 13,
  kMoshpitAverage = 14,
  kEpidemicPush = 15,
  kGradientHook = 64,  // src/compress/hook/state.cc
};

class StateWriter {
 public:
  StateWriter(MethodKind kind, size_t body_bytes);
  void number(uint64_t value);
  void real(double value);
  void bytes(std::span<const std::byte> bytes);
  // What a method's body begins with.
  void elements(uint64_t count, DataType type);
  std::vector<std::byte> finish();

 private:
  std::vector<std::byte> out_;
};

class StateReader {
 public:
  //   kInvalidArgument  not a saved method, another method's, another version's, cut off, damaged
  static Result<StateReader> open(MethodKind kind, std::span<const std::byte> saved);

  // 0, or nothing, beyond the end.
  uint64_t number();
  double real();
  std::span<const std::byte> bytes(uint64_t count);
  // A number that must be this method's own; `what` names it in the sentence of finish().
  void expect(uint64_t own, const char* what);
  void expect_elements(uint64_t count, DataType type);
  // As number(), real() and bytes(), which a finish() that finds all sound writes to `into`: until
  // then nothing of the method changes.
  void take(uint64_t* into);
  void take(double* into);
  void take(std::span<std::byte> into);
  // For what the reader cannot know to be wrong; finish() returns the first one's sentence.
  void refuse(std::string why);
  //   kInvalidArgument  an expectation failed, or the body is longer or shorter than what was read
  Status finish();

 private:
  struct Taken {
    std::span<std::byte> into;
    std::span<const std::byte> from;
  };

  explicit StateReader(std::span<const std::byte> body) : body_(body) {}
  std::span<const std::byte> body_;
  std::vector<Taken> taken_;
  Status failure_;
};

}  // namespace gossamer

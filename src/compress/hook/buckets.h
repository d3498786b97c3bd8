// Which gradients travel together: a pure function of the list, of an order and of limits, so that
// every rank comes to the same buckets.
//
// Rules      ParameterList are taken in the given order. Those of one type and group share a bucket
//            until the next one would exceed its limit in bytes; a larger one has a bucket alone.
//            The bucket that is opened first has a limit of its own. Buckets are in the order in
//            which their last parameters come. Buckets of a stable group hold the same parameters
//            whatever the order is: they are filled from the end of the list.
// Alignment  A parameter begins at a multiple of 64 bytes; the whole is a multiple of `share_count`
//            such lines, so that ranks' shares are equal and begin there too.
// Threads    Pure.
// Units      Counts are elements, sizes bytes.

#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "src/compress/hook/parameters.h"

namespace gossamer {

struct Bucket {
  struct Part {
    uint32_t parameter = 0;
    uint64_t first = 0;
    uint64_t count = 0;
  };
  DataType type = DataType::kFloat32;
  uint32_t group = 0;
  uint64_t count = 0;
  std::vector<Part> parts;
  uint32_t first_needed = 0;  // the parameter of it that comes first in the list

  uint64_t bytes() const { return count * size_of(type); }
};

struct BucketLimits {
  uint64_t bytes_max = 0;
  uint64_t first_bytes_max = 0;
  uint64_t share_count = 1;
  std::span<const bool> stable = {};  // by group; empty: none is
};

// `groups` of each parameter; `order` names each parameter once.
std::vector<Bucket> make_buckets(const ParameterList& parameters, std::span<const uint32_t> groups,
                                 std::span<const uint32_t> order, const BucketLimits& limits);

// Of everything that decides how buckets travel.
uint64_t digest_of(std::span<const Bucket> buckets);

}  // namespace gossamer

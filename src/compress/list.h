// Every codec: one file here, one line in this list.

#pragma once

#include "src/compress/factory.h"

// clang-format off
#define GOSSAMER_CODECS(ENTRY)  \
  ENTRY(fp16)                   \
  ENTRY(bf16)                   \
  ENTRY(fp8_e4m3)               \
  ENTRY(fp8_e5m2)               \
  ENTRY(mxfp8)                  \
  ENTRY(mxfp6)                  \
  ENTRY(mxfp4)                  \
  ENTRY(int8)                   \
  ENTRY(int4)                   \
  ENTRY(qsgd)                   \
  ENTRY(natural)                \
  ENTRY(terngrad)               \
  ENTRY(sign)                   \
  ENTRY(one_bit)                \
  ENTRY(two_bit)                \
  ENTRY(topk)                   \
  ENTRY(randomk)                \
  ENTRY(threshold)              \
  ENTRY(block_sparse)           \
  ENTRY(majority)               \
  ENTRY(int8_shared)            \
  ENTRY(thc)                    \
  ENTRY(dct)                    \
  ENTRY(count_sketch)           \
  ENTRY(zstd)
// clang-format on

namespace gossamer {
#define GOSSAMER_DECLARE(name) extern const CodecFactory name##_codec;
GOSSAMER_CODECS(GOSSAMER_DECLARE)
#undef GOSSAMER_DECLARE
}  // namespace gossamer

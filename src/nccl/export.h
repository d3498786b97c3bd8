// How a function of NCCL's is defined: strong as pncclX, and weak as ncclX at the same address, so
// that a tool may define ncclX itself and call pncclX.

#pragma once

#include "nccl/nccl.h"

// NOLINTBEGIN(bugprone-macro-parentheses): types and parameter lists cannot be put in parentheses
#define GOSSAMER_NCCL_DEFINE(result, name, ...)                                                  \
  extern "C" [[gnu::visibility("default")]] result p##name(__VA_ARGS__);                         \
  extern "C"                                                                                     \
      [[gnu::weak, gnu::alias("p" #name), gnu::visibility("default")]] result name(__VA_ARGS__); \
  extern "C" result p##name(__VA_ARGS__)
// NOLINTEND(bugprone-macro-parentheses)

// The table of algorithms, made from algorithms/list.h.

#include <array>

#include "algorithms/list.h"

namespace gossamer {

std::span<const Algorithm* const> algorithms() {
#define GOSSAMER_ADDRESS(name) &name,  // NOLINT(bugprone-macro-parentheses)
  static constexpr const Algorithm* kAlgorithms[] = {GOSSAMER_ALGORITHMS(GOSSAMER_ADDRESS)};
#undef GOSSAMER_ADDRESS
  return kAlgorithms;
}

const Algorithm* find_algorithm(Collective collective, std::string_view name) {
  for (const Algorithm* algorithm : algorithms()) {
    if (algorithm->collective == collective && algorithm->name == name) return algorithm;
  }
  return nullptr;
}

}  // namespace gossamer

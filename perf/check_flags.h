// What can be said of a command's flags before it starts ranks or measures: at once, and once, and
// not by every rank.

#pragma once

#include <initializer_list>
#include <string>

#include "gossamer/status.h"
#include "gossamer/types.h"

namespace gossamer {

// The names of the first `count` values: "sum, prod, max".
template <class Enum>
std::string known_names(int count) {
  std::string names;
  for (int i = 0; i < count; ++i)
    names += std::string(names.empty() ? "" : ", ") + std::string(name_of(static_cast<Enum>(i)));
  return names;
}

// Whether the collective has an algorithm of this name; empty: the cheapest is meant.
//   kInvalidArgument  no; the message lists what there is
Status check_algorithm(Collective collective, const std::string& name);

// The names of codecs and of error feedback that go into a gradient hook's rules, with their
// parameters; empty: none.
//   kInvalidArgument  no such one; the message lists what there is
Status check_rule_names(std::initializer_list<std::string> codecs, const std::string& feedback);

// Whether results can be written to each of these files; empty: none. Leaves no file that was not
// there.
//   kSystem  no; the message says why
Status check_outputs(std::initializer_list<std::string> paths);

}  // namespace gossamer

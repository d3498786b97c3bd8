// What is asked for as text: "name", or "name:key=value,key=value".
//
// Threads    Pure.

#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "gossamer/status.h"

namespace gossamer {

using Parameters = std::map<std::string, std::string>;  // values by name

// "name:..." in two.
struct NameAndParameters {
  std::string_view name;
  std::string_view parameters;
};
NameAndParameters split_name(std::string_view text);

// "k=2,over=ring" into *parameters. `known` describes them: "k=1: what; over=ring: what". `whose`
// is for people: "graph base".
//   kInvalidArgument  one that is not known, or is given twice
Status read_parameters(std::string_view text, const std::string& whose, const std::string& known,
                       Parameters* parameters);

// Numbers among them; `fallback` where it is not given.
//   kInvalidArgument  it is no number, or not in [least, most]
Result<int64_t> whole_parameter(const Parameters& parameters, const std::string& whose,
                                const std::string& name, int64_t fallback, int64_t least,
                                int64_t most);
//   kInvalidArgument  it is no finite number
Result<double> real_parameter(const Parameters& parameters, const std::string& whose,
                              const std::string& name, double fallback);

}  // namespace gossamer

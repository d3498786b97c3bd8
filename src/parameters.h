// "name:parameter=value,parameter=value": how graphs, methods and codecs are asked for by text.
//
// What there is, is described by a text as well: "block=256: elements per scale; mode=symmetric: or
// minmax" has the names, what holds when they are not given, and help for people.
//
// Threads    Functions are pure, objects not synchronised.

#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "gossamer/status.h"

namespace gossamer {

using GivenParameters = std::map<std::string, std::string>;  // values by name

// "name:..." in two.
struct NameAndParameters {
  std::string_view name;
  std::string_view parameters;
};
NameAndParameters split_name(std::string_view text);

// "block=64,mode=minmax" into *given. `owner` names in errors what they are parameters of: "codec
// int8", "graph base".
//   kInvalidArgument  `described` has no such name, and the message is `described`; one that is
//                     given twice
Status read_parameters(std::string_view text, const std::string& owner, std::string_view described,
                       GivenParameters* given);

// Numbers among them; `fallback` where it is not given.
//   kInvalidArgument  it is no number, or not in [least, most]
Result<int64_t> whole_parameter(const GivenParameters& given, const std::string& owner,
                                const std::string& name, int64_t fallback, int64_t least,
                                int64_t most);
//   kInvalidArgument  it is no finite number
Result<double> real_parameter(const GivenParameters& given, const std::string& owner,
                              const std::string& name, double fallback);

// The parameters of one thing that is being made, typed. Each is read once at least, so that text()
// knows it in the form that all ways to write a value share.
class Parameters {
 public:
  // `given` is of read_parameters().
  Parameters(std::string owner, std::string_view described, const GivenParameters& given);

  //   kInvalidArgument  the value is none; the message says what may be
  Result<int64_t> integer(const std::string& name, int64_t least, int64_t most);
  Result<double> real(const std::string& name, double least, double most);
  Result<size_t> choice(const std::string& name, std::span<const std::string_view> choices);

  // As given. Who reads it puts the form there that all ways to write it share.
  std::string& word(const std::string& name) { return item(name).value; }

  // All in the order in which they are described: "block=256,mode=symmetric".
  std::string text() const;

 private:
  struct Item {
    std::string name;
    std::string value;
  };
  Item& item(const std::string& name);
  std::string label(const std::string& name) const;

  std::string owner_;
  std::vector<Item> items_;
};

}  // namespace gossamer

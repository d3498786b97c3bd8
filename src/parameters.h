// "name:parameter=value,parameter=value": how codecs are asked for by text.
//
// What there is, is described by a text as well: "block=256: elements per scale; mode=symmetric: or
// minmax" has the names, what holds when they are not given, and help for people.
//
// Threads    Not synchronised.

#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "gossamer/status.h"

namespace gossamer {

// "block=64,mode=minmax" by name; `owner` names in errors what they are parameters of: "codec
// int8".
//   kInvalidArgument  `described` has no such name; the message is `described`
Result<std::map<std::string, std::string>> read_parameters(std::string_view text,
                                                           std::string_view described,
                                                           const std::string& owner);

// The parameters of one thing that is being made, typed. Each is read once at least, so that text()
// knows it in the form that all ways to write a value share.
class Parameters {
 public:
  // `given` is of read_parameters().
  Parameters(std::string owner, std::string_view described,
             std::map<std::string, std::string> given);

  //   kInvalidArgument  the value is none; the message says what may be
  Result<int64_t> integer(const std::string& name, int64_t least, int64_t most);
  Result<double> real(const std::string& name, double least, double most);
  Result<size_t> choice(const std::string& name, std::span<const std::string_view> choices);

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

#include "gossip/parameters.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "src/env.h"

namespace gossamer {
namespace {

Status invalid(std::string message) {
  return Status::error(Code::kInvalidArgument, std::move(message));
}

}  // namespace

NameAndParameters split_name(std::string_view text) {
  const size_t colon = std::min(text.find(':'), text.size());
  return {text.substr(0, colon), text.substr(std::min(colon + 1, text.size()))};
}

Status read_parameters(std::string_view text, const std::string& whose, const std::string& known,
                       Parameters* parameters) {
  while (!text.empty()) {
    const size_t comma = std::min(text.find(','), text.size());
    const std::string_view item = text.substr(0, comma);
    text.remove_prefix(std::min(comma + 1, text.size()));
    const size_t equals = item.find('=');
    const std::string name(item.substr(0, equals));
    const bool found = fmt::format("; {}", known).find("; " + name + "=") != std::string::npos;
    if (equals == std::string_view::npos || name.empty() || !found) {
      return invalid(fmt::format("'{}' is no parameter of {}; {}", item, whose,
                                 known.empty() ? "it has none" : "it has " + known));
    }
    if (!parameters->emplace(name, item.substr(equals + 1)).second) {
      return invalid(fmt::format("{} is given {} twice", whose, name));
    }
  }
  return Status::ok();
}

Result<int64_t> whole_parameter(const Parameters& parameters, const std::string& whose,
                                const std::string& name, int64_t fallback, int64_t least,
                                int64_t most) {
  const auto found = parameters.find(name);
  if (found == parameters.end()) return fallback;
  return parse_int(found->second, least, most, fmt::format("{}'s parameter {}", whose, name));
}

Result<double> real_parameter(const Parameters& parameters, const std::string& whose,
                              const std::string& name, double fallback) {
  const auto found = parameters.find(name);
  if (found == parameters.end()) return fallback;
  const std::string& text = found->second;
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error == std::errc() && end == text.data() + text.size() && std::isfinite(value)) {
    return value;
  }
  return invalid(
      fmt::format("{}'s parameter {} is \"{}\", which is no number; write for example "
                  "{}=0.01",
                  whose, name, text, name));
}

}  // namespace gossamer

#include "src/parameters.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "src/check.h"
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

Status read_parameters(std::string_view text, const std::string& owner, std::string_view described,
                       GivenParameters* given) {
  while (!text.empty()) {
    const size_t comma = std::min(text.find(','), text.size());
    const std::string_view item = text.substr(0, comma);
    text.remove_prefix(std::min(comma + 1, text.size()));
    const size_t equals = item.find('=');
    const std::string name(item.substr(0, equals));
    const bool found = fmt::format("; {}", described).find("; " + name + "=") != std::string::npos;
    if (equals == std::string_view::npos && found) {
      return invalid(fmt::format("'{}' is given no value: write {}=VALUE; {} has {}", item, name,
                                 owner, described));
    }
    if (equals == std::string_view::npos || name.empty() || !found) {
      return invalid(fmt::format(
          "'{}' is no parameter of {}; {}", item, owner,
          described.empty() ? std::string("it has none") : fmt::format("it has {}", described)));
    }
    if (!given->emplace(name, item.substr(equals + 1)).second) {
      return invalid(fmt::format("{} is given {} twice", owner, name));
    }
  }
  return Status::ok();
}

Result<int64_t> whole_parameter(const GivenParameters& given, const std::string& owner,
                                const std::string& name, int64_t fallback, int64_t least,
                                int64_t most) {
  const auto found = given.find(name);
  if (found == given.end()) return fallback;
  return parse_int(found->second, least, most, fmt::format("{}'s parameter {}", owner, name));
}

Result<double> real_parameter(const GivenParameters& given, const std::string& owner,
                              const std::string& name, double fallback) {
  const auto found = given.find(name);
  if (found == given.end()) return fallback;
  const std::string& text = found->second;
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error == std::errc() && end == text.data() + text.size() && std::isfinite(value)) {
    return value;
  }
  return invalid(
      fmt::format("{}'s parameter {} is \"{}\", which is no number; write for example "
                  "{}=0.01",
                  owner, name, text, name));
}

Parameters::Parameters(std::string owner, std::string_view described, const GivenParameters& given)
    : owner_(std::move(owner)) {
  while (!described.empty()) {
    const std::string_view one = described.substr(0, described.find("; "));
    described.remove_prefix(std::min(one.size() + 2, described.size()));
    const size_t equals = one.find('=');
    const size_t colon = one.find(": ");
    GOSSAMER_CHECK(equals != std::string_view::npos && colon != std::string_view::npos);
    const std::string name(one.substr(0, equals));
    const auto value = given.find(name);
    items_.push_back({name, value != given.end()
                                ? value->second
                                : std::string(one.substr(equals + 1, colon - equals - 1))});
  }
}

Parameters::Item& Parameters::item(const std::string& name) {
  const auto found =
      std::find_if(items_.begin(), items_.end(), [&](const Item& one) { return one.name == name; });
  GOSSAMER_CHECK(found != items_.end());
  return *found;
}

std::string Parameters::label(const std::string& name) const {
  return fmt::format("{}'s parameter {}", owner_, name);
}

Result<int64_t> Parameters::integer(const std::string& name, int64_t least, int64_t most) {
  Item& one = item(name);
  Result<int64_t> value = parse_int(one.value, least, most, label(name));
  if (value) one.value = fmt::format("{}", *value);
  return value;
}

Result<double> Parameters::real(const std::string& name, double least, double most) {
  Item& one = item(name);
  double value = 0;
  const char* const end = one.value.data() + one.value.size();
  const auto [stopped, error] = std::from_chars(one.value.data(), end, value);
  if (error != std::errc{} || stopped != end || !(value >= least && value <= most)) {
    return invalid(fmt::format("{}=\"{}\" is not a number from {} to {}", label(name), one.value,
                               least, most));
  }
  one.value = fmt::format("{}", value);
  return value;
}

Result<size_t> Parameters::choice(const std::string& name,
                                  std::span<const std::string_view> choices) {
  const std::string& value = item(name).value;
  const auto found = std::find(choices.begin(), choices.end(), value);
  if (found != choices.end()) return static_cast<size_t>(found - choices.begin());
  return invalid(
      fmt::format("{}=\"{}\" is not one of {}", label(name), value, fmt::join(choices, ", ")));
}

std::string Parameters::text() const {
  std::string text;
  for (const Item& one : items_) {
    text += fmt::format("{}{}={}", text.empty() ? "" : ",", one.name, one.value);
  }
  return text;
}

}  // namespace gossamer

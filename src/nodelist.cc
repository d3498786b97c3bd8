#include "src/nodelist.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

namespace gossamer {
namespace {

constexpr size_t kHostBytesMax = 253;  // of a DNS name

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

bool is_name(char c) {
  return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' || c == '.' ||
         c == '_';
}

bool all_digits(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), is_digit);
}

// "003-005,9" without its brackets -> "003". Nothing when any part is neither a number nor a range.
std::optional<std::string_view> first_number(std::string_view ranges) {
  std::optional<std::string_view> first;
  for (;;) {
    const size_t comma = std::min(ranges.find(','), ranges.size());
    const std::string_view range = ranges.substr(0, comma);
    const size_t dash = std::min(range.find('-'), range.size());
    const std::string_view low = range.substr(0, dash);
    if (!all_digits(low) || (dash < range.size() && !all_digits(range.substr(dash + 1)))) {
      return std::nullopt;
    }
    if (!first) {
      first = low;
    }
    if (comma == ranges.size()) {
      return first;
    }
    ranges.remove_prefix(comma + 1);
  }
}

// Takes one host pattern off the front of `list` and returns its first host.
std::optional<std::string> take_host(std::string_view* list) {
  std::string host;
  while (!list->empty() && list->front() != ',') {
    const char c = list->front();
    if (c == '[') {
      const size_t end = list->find(']');
      if (end == std::string_view::npos) {
        return std::nullopt;
      }
      const std::optional<std::string_view> number = first_number(list->substr(1, end - 1));
      if (!number) {
        return std::nullopt;
      }
      host += *number;
      list->remove_prefix(end + 1);
    } else if (is_name(c)) {
      host += c;
      list->remove_prefix(1);
    } else {
      return std::nullopt;
    }
    if (host.size() > kHostBytesMax) {
      return std::nullopt;
    }
  }
  return host.empty() ? std::nullopt : std::optional(std::move(host));
}

}  // namespace

Result<std::string> first_host(std::string_view nodelist) {
  std::string_view left = nodelist;
  std::optional<std::string> first = take_host(&left);
  bool good = first.has_value();
  while (good && !left.empty()) {
    left.remove_prefix(1);  // the comma
    good = take_host(&left).has_value();
  }
  if (!good) {
    return Status::error(
        Code::kInvalidArgument,
        fmt::format("\"{}\" is no list of hosts as Slurm writes them, like n[3-5,9],login1",
                    nodelist.substr(0, 200)));
  }
  return *first;
}

}  // namespace gossamer

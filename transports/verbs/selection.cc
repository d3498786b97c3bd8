#include "transports/verbs/selection.h"

#include <charconv>

namespace gossamer::verbs {

Result<Selection> Selection::parse(const std::string& text) {
  const auto malformed = [&] {
    return Status::error(Code::kInvalidArgument,
                         "GOSSAMER_IB_HCA=\"" + text +
                             "\" is no list of devices such as mlx5_0:1,mlx5_1 with = (exact "
                             "names) or ^ (all but) in front");
  };
  Selection selection;
  size_t at = 0;
  if (at < text.size() && text[at] == '^') {
    selection.exclude_ = true;
    ++at;
  }
  if (at < text.size() && text[at] == '=') {
    selection.exact_ = true;
    ++at;
  }
  if (at == text.size()) {
    if (at > 0) return malformed();
    return selection;
  }
  while (at <= text.size()) {
    const size_t end = std::min(text.find(',', at), text.size());
    Item item{text.substr(at, end - at), -1};
    if (const size_t colon = item.name.find(':'); colon != std::string::npos) {
      const char* const first = item.name.data() + colon + 1;
      const char* const last = item.name.data() + item.name.size();
      const auto [stop, error] = std::from_chars(first, last, item.port);
      if (error != std::errc() || stop != last || item.port < 1 || item.port > 255) {
        return malformed();
      }
      item.name.resize(colon);
    }
    if (item.name.empty()) return malformed();
    selection.items_.push_back(item);
    at = end + 1;
  }
  return selection;
}

bool Selection::takes(const std::string& device, int port) const {
  if (items_.empty()) return true;
  for (const Item& item : items_) {
    const bool named = exact_ ? device == item.name : device.starts_with(item.name);
    if (named && (item.port < 0 || item.port == port)) return !exclude_;
  }
  return exclude_;
}

}  // namespace gossamer::verbs

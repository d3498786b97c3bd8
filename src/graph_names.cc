#include "src/graph_names.h"

#include <deque>
#include <mutex>
#include <utility>

namespace gossamer {
namespace {

struct Names {
  std::mutex mutex;
  std::deque<std::pair<uint32_t, std::string>> youngest_first;
};

Names& names() {
  static Names* const all = new Names;  // outlives threads that end after main()
  return *all;
}

}  // namespace

void remember_graph(uint64_t identity, const std::string& name) {
  Names& all = names();
  const std::lock_guard lock(all.mutex);
  std::erase(all.youngest_first, std::pair(graph_tag(identity), name));
  if (all.youngest_first.size() == kGraphNamesMax) all.youngest_first.pop_back();
  all.youngest_first.emplace_front(graph_tag(identity), name);
}

std::string describe_graph(uint32_t tag) {
  Names& all = names();
  const std::lock_guard lock(all.mutex);
  for (const auto& [known, name] : all.youngest_first) {
    if (known == tag) return "graph " + name;
  }
  return "a graph that this process has not made";
}

}  // namespace gossamer

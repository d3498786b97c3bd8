#include "src/graph_names.h"

#include "src/tagged_names.h"

namespace gossamer {
namespace {

TaggedNames& names() {
  static auto* const all = new TaggedNames(kGraphNamesMax);  // outlives all threads
  return *all;
}

}  // namespace

void remember_graph(uint64_t identity, const std::string& name) {
  names().remember(graph_tag(identity), name);
}

std::string describe_graph(uint32_t tag) {
  const std::string name = names().find(tag);
  return name.empty() ? "a graph that this process has not made" : "graph " + name;
}

}  // namespace gossamer

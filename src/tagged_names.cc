#include "src/tagged_names.h"

namespace gossamer {

void TaggedNames::remember(uint32_t tag, const std::string& name) {
  const std::lock_guard lock(mutex_);
  std::erase(youngest_first_, std::pair(tag, name));
  if (youngest_first_.size() == names_max_) youngest_first_.pop_back();
  youngest_first_.emplace_front(tag, name);
}

std::string TaggedNames::find(uint32_t tag) const {
  const std::lock_guard lock(mutex_);
  for (const auto& [known, name] : youngest_first_) {
    if (known == tag) return name;
  }
  return {};
}

}  // namespace gossamer

#include "src/codec_names.h"

#include <deque>
#include <mutex>
#include <utility>

#include "gossamer/codec.h"

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

void remember_codec(uint64_t identity, const std::string& name) {
  Names& all = names();
  const std::lock_guard lock(all.mutex);
  std::erase(all.youngest_first, std::pair(codec_tag(identity), name));
  if (all.youngest_first.size() == kCodecNamesMax) all.youngest_first.pop_back();
  all.youngest_first.emplace_front(codec_tag(identity), name);
}

std::string describe_codec(uint32_t tag) {
  {
    Names& all = names();
    const std::lock_guard lock(all.mutex);
    for (const auto& [known, name] : all.youngest_first) {
      if (known == tag) return "codec " + name;
    }
  }
  for (const CodecInfo& info : codecs()) {
    const auto codec = make_codec(std::string(info.name));
    if (codec && codec_tag((*codec)->identity()) == tag) return "codec " + (*codec)->name();
  }
  return "a codec that this process has not used";
}

}  // namespace gossamer

#include "src/codec_names.h"

#include "gossamer/codec.h"
#include "src/tagged_names.h"

namespace gossamer {
namespace {

TaggedNames& names() {
  static auto* const all = new TaggedNames(kCodecNamesMax);  // outlives all threads
  return *all;
}

}  // namespace

void remember_codec(uint64_t identity, const std::string& name) {
  names().remember(codec_tag(identity), name);
}

std::string describe_codec(uint32_t tag) {
  if (const std::string name = names().find(tag); !name.empty()) return "codec " + name;
  for (const CodecInfo& info : codecs()) {
    const auto codec = make_codec(std::string(info.name));
    if (codec && codec_tag((*codec)->identity()) == tag) return "codec " + (*codec)->name();
  }
  return "a codec that this process has not used";
}

}  // namespace gossamer

// The table of codecs, made from src/compress/list.h, and how one is found by its text.

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "src/compress/list.h"

namespace gossamer {
namespace {

Status invalid(std::string message) {
  return Status::error(Code::kInvalidArgument, std::move(message));
}

const CodecFactory* find(std::string_view name) {
  for (const CodecFactory* factory : codec_factories()) {
    if (name == factory->name) return factory;
  }
  return nullptr;
}

std::string known_names() {
  std::string names;
  for (const CodecFactory* factory : codec_factories()) {
    names += fmt::format("{}{}", names.empty() ? "" : ", ", factory->name);
  }
  return names;
}

}  // namespace

std::span<const CodecFactory* const> codec_factories() {
#define GOSSAMER_ADDRESS(name) &name##_codec,
  static const CodecFactory* const kAll[] = {GOSSAMER_CODECS(GOSSAMER_ADDRESS)};
#undef GOSSAMER_ADDRESS
  return kAll;
}

std::vector<CodecInfo> codecs() {
  std::vector<CodecInfo> all;
  for (const CodecFactory* factory : codec_factories()) {
    all.push_back({factory->name, factory->parameters, factory->what});
  }
  return all;
}

Result<std::unique_ptr<Codec>> make_codec(const std::string& text) {
  const auto [name, rest] = split_name(text);
  const CodecFactory* const factory = find(name);
  if (factory == nullptr) {
    return invalid(fmt::format("no codec is called '{}'; there are {}", name, known_names()));
  }
  const std::string owner = fmt::format("codec {}", factory->name);
  GivenParameters given;
  if (Status s = read_parameters(rest, owner, factory->parameters, &given); !s) return s;
  Parameters parameters(owner, factory->parameters, given);
  Result<std::unique_ptr<Codec>> made = factory->create(parameters);
  if (!made) return made;
  const std::string named = parameters.text();
  CodecMaker::introduce(made->get(),
                        named.empty() ? factory->name : fmt::format("{}:{}", factory->name, named));
  return made;
}

Codec::Codec(std::string name) {
  if (!name.empty()) introduce(std::move(name));
}

// FNV-1a (Fowler, Noll and Vo), which is the same on all machines; then the end of MurmurHash3, as
// messages carry the upper bits, which the last letters of a name would not reach.
void Codec::introduce(std::string name) {
  uint64_t hash = 0xcbf29ce484222325U;
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3U;
  hash = (hash ^ (hash >> 33)) * 0xff51afd7ed558ccdU;
  hash = (hash ^ (hash >> 33)) * 0xc4ceb9fe1a85ec53U;
  hash ^= hash >> 33;
  name_ = std::move(name);
  identity_ = hash == 0 ? 1 : hash;
}

void CodecMaker::introduce(Codec* codec, const std::string& name) {
  codec->introduce(name);
}

Status check_length(const Codec& codec, uint64_t bytes, uint64_t expected, uint64_t count) {
  if (bytes == expected) return Status::ok();
  return Status::error(Code::kMismatch,
                       fmt::format("{} bytes are no {} of {} elements: they are {}", bytes,
                                   codec.name(), count, expected));
}

}  // namespace gossamer

// Zstd: another codec's code, made shorter without loss.
//   Source    Collet and Kucherawy, "Zstandard compression and the application/zstd media type",
//             RFC 8878, 2021.
//   Code      A frame of zstd with the code of the other codec in it. Versions of the library may
//             write different frames; each reads all.
//   Error     The other codec's, and so are its values and how sums are made.
//   Needs     libzstd.so.1, loaded when the first such codec is made.
//   Memory    Each thread that encodes or decodes keeps a context of the library and room for the
//             longest code it has met: the one codec that is not content with its workspace.

#include <dlfcn.h>
#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <vector>

#include "src/check.h"
#include "src/compress/list.h"

namespace gossamer {
namespace {

// The part of the library's interface that has been the same since version 1.0.
struct Api {
  size_t (*bound)(size_t bytes) = nullptr;
  unsigned (*is_error)(size_t result) = nullptr;
  void* (*create_encoder)() = nullptr;
  size_t (*free_encoder)(void* context) = nullptr;
  size_t (*encode)(void* context, void* into, size_t room, const void* from, size_t bytes,
                   int level) = nullptr;
  void* (*create_decoder)() = nullptr;
  size_t (*free_decoder)(void* context) = nullptr;
  size_t (*decode)(void* context, void* into, size_t room, const void* from,
                   size_t bytes) = nullptr;
};

Api api;

template <class Function>
bool find(void* library, const char* name, Function* function) {
  *function = reinterpret_cast<Function>(::dlsym(library, name));
  return *function != nullptr;
}

Status load() {
  void* const library = ::dlopen("libzstd.so.1", RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
  if (library == nullptr) {
    return Status::error(Code::kUnavailable,
                         std::string("zstd cannot be loaded; install it (Debian: libzstd1) or "
                                     "choose a codec without it: ") +
                             ::dlerror());
  }
  const bool complete = find(library, "ZSTD_compressBound", &api.bound) &&
                        find(library, "ZSTD_isError", &api.is_error) &&
                        find(library, "ZSTD_createCCtx", &api.create_encoder) &&
                        find(library, "ZSTD_freeCCtx", &api.free_encoder) &&
                        find(library, "ZSTD_compressCCtx", &api.encode) &&
                        find(library, "ZSTD_createDCtx", &api.create_decoder) &&
                        find(library, "ZSTD_freeDCtx", &api.free_decoder) &&
                        find(library, "ZSTD_decompressDCtx", &api.decode);
  if (complete) return Status::ok();
  return Status::error(Code::kUnavailable, "this zstd lacks a function that version 1.0 had");
}

Status load_once() {
  static const Status status = load();
  return status;
}

struct EncoderEnd {
  void operator()(void* context) const { api.free_encoder(context); }
};
struct DecoderEnd {
  void operator()(void* context) const { api.free_decoder(context); }
};

// What a thread keeps.
struct Kept {
  std::unique_ptr<void, EncoderEnd> encoder;
  std::unique_ptr<void, DecoderEnd> decoder;
  std::vector<std::byte> room;
};
Kept& kept() {
  thread_local Kept mine;
  return mine;
}

class Zstd final : public Codec {
 public:
  Zstd(std::unique_ptr<Codec> inner, int level) : inner_(std::move(inner)), level_(level) {}

  CodecTraits traits() const override {
    CodecTraits traits = inner_->traits();
    traits.fixed_size = false;
    traits.joins = false;
    return traits;
  }
  uint64_t count_max() const override { return inner_->count_max(); }
  uint64_t bytes_max(uint64_t count) const override {
    return count == 0 ? 0 : api.bound(inner_->bytes_max(count));
  }
  uint64_t block() const override { return inner_->block(); }
  uint64_t workspace_bytes(uint64_t count) const override {
    return inner_->bytes_max(count) + inner_->workspace_bytes(count);
  }
  double error_max(uint64_t count) const override { return inner_->error_max(count); }

  Encoded encode(std::span<const float> values, const Draws& draws, std::span<std::byte> code,
                 std::span<std::byte> workspace) const override {
    if (values.empty()) return {};
    const uint64_t room = inner_->bytes_max(values.size());
    GOSSAMER_CHECK(workspace.size() >= workspace_bytes(values.size()) &&
                   code.size() >= bytes_max(values.size()));
    Encoded encoded = inner_->encode(values, draws, workspace.first(room), workspace.subspan(room));
    if (kept().encoder == nullptr) kept().encoder.reset(api.create_encoder());
    const size_t bytes = api.encode(kept().encoder.get(), code.data(), code.size(),
                                    workspace.data(), encoded.bytes, level_);
    GOSSAMER_CHECK(api.is_error(bytes) == 0);  // there was room for the longest
    encoded.bytes = bytes;
    return encoded;
  }
  Status check(std::span<const std::byte> code, uint64_t count) const override {
    if (count == 0) return check_length(*this, code.size(), 0, count);
    std::span<const std::byte> inside;
    if (code.size() <= bytes_max(count) && unpack(code, count, &inside)) {
      return inner_->check(inside, count);
    }
    return Status::error(Code::kMismatch,
                         fmt::format("{} bytes are no frame of zstd with {} of {} elements in it",
                                     code.size(), inner_->name(), count));
  }
  void decode(std::span<const std::byte> code, std::span<float> into) const override {
    std::span<const std::byte> inside;
    if (!into.empty() && unpack(code, into.size(), &inside)) inner_->decode(inside, into);
  }
  void add(std::span<const std::byte> code, float factor, std::span<float> into) const override {
    std::span<const std::byte> inside;
    if (!into.empty() && unpack(code, into.size(), &inside)) inner_->add(inside, factor, into);
  }

 private:
  // Into this thread's room, which is as long as the inner code may be: a frame that holds more is
  // none.
  bool unpack(std::span<const std::byte> code, uint64_t count,
              std::span<const std::byte>* inside) const {
    const uint64_t most = inner_->bytes_max(count);
    Kept& mine = kept();
    if (mine.room.size() < most) mine.room.resize(most);
    if (mine.decoder == nullptr) mine.decoder.reset(api.create_decoder());
    const size_t bytes =
        api.decode(mine.decoder.get(), mine.room.data(), most, code.data(), code.size());
    if (api.is_error(bytes) != 0 || bytes > most) return false;
    // Inner codecs of a fixed size need not look at lengths in decode().
    if (inner_->traits().fixed_size && bytes != most) return false;
    *inside = std::span<const std::byte>(mine.room).first(bytes);
    return true;
  }

  std::unique_ptr<Codec> inner_;
  int level_;
};

Result<std::unique_ptr<Codec>> create(Parameters& parameters) {
  // Commas separate this codec's own parameters.
  std::string text = parameters.word("of");
  std::replace(text.begin(), text.end(), ';', ',');
  if (text.starts_with("zstd")) {
    return Status::error(Code::kInvalidArgument, "zstd within zstd makes nothing shorter");
  }
  Result<std::unique_ptr<Codec>> inner = make_codec(text);
  if (!inner) return inner;
  text = (*inner)->name();
  std::replace(text.begin(), text.end(), ',', ';');
  parameters.word("of") = text;
  const Result<int64_t> level = parameters.integer("level", 1, 19);
  if (!level) return level.status();
  if (Status loaded = load_once(); !loaded) return loaded;
  return std::unique_ptr<Codec>(
      std::make_unique<Zstd>(std::move(inner).value(), static_cast<int>(*level)));
}

}  // namespace

const CodecFactory zstd_codec = {
    "zstd", "another codec's code, made shorter by zstd",
    "of=int8: the codec, with semicolons for its commas, as in topk:ratio=0.01;index=u16; "
    "level=1: of the compression, up to 19",
    create};

}  // namespace gossamer

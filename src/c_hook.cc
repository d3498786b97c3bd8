// The C boundary of the gradient hook.

#include <cstring>
#include <memory>
#include <vector>

#include "gossamer/gossamer_hook.h"
#include "gossamer/gradient_hook.h"
#include "src/c_boundary.h"

using gossamer::Code;
using gossamer::Codec;
using gossamer::CodecTraits;
using gossamer::Draws;
using gossamer::Encoded;
using gossamer::GradientHook;
using gossamer::Result;
using gossamer::Status;
using namespace gossamer::boundary;  // NOLINT(google-build-using-namespace): all of it is this
                                     // file's

namespace {

constexpr const char* kNoHook = "the hook is null; gossamerHookCreate makes one";
constexpr const char* kNoKey = "the key is null";

// A caller's codec behind our interface.
class CodecOfC final : public Codec {
 public:
  explicit CodecOfC(const gossamerHookCodec_t& calls) : calls_(calls) {}
  CodecTraits traits() const override { return {.fixed_size = calls_.fixed_size != 0}; }
  uint64_t bytes_max(uint64_t count) const override {
    return calls_.bytes_max(count, calls_.context);
  }
  double error_max(uint64_t /*count*/) const override { return 1; }
  Encoded encode(std::span<const float> values, const Draws& draws, std::span<std::byte> code,
                 std::span<std::byte> /*workspace*/) const override {
    return {calls_.encode(values.data(), values.size(), draws.own, draws.shared, code.data(),
                          calls_.context),
            0};
  }
  Status check(std::span<const std::byte> code, uint64_t count) const override {
    const bool sound = code.size() <= bytes_max(count) &&
                       (calls_.check == nullptr ||
                        calls_.check(code.data(), code.size(), count, calls_.context) == 0);
    if (sound) return Status::ok();
    return Status::error(Code::kMismatch, "the caller's codec does not know it as its own");
  }
  void decode(std::span<const std::byte> code, std::span<float> into) const override {
    calls_.decode(code.data(), code.size(), into.data(), into.size(), calls_.context);
  }
  void add(std::span<const std::byte> code, float factor, std::span<float> into) const override {
    if (decoded_.size() < into.size()) decoded_.resize(into.size());
    decode(code, std::span(decoded_).first(into.size()));
    for (size_t i = 0; i < into.size(); ++i) into[i] += factor * decoded_[i];
  }

 private:
  const gossamerHookCodec_t calls_;
  mutable std::vector<float> decoded_;  // of the one thread that conducts the hook
};

// A link of the chain, with its view of buckets, which no callback has to allocate.
struct Link {
  gossamerHookCallbacks_t calls{};
  std::vector<gossamerHookPart_t> parts;
};

gossamerBucket_t view_of(const GradientHook::BucketView& bucket, Link* link) {
  link->parts.clear();
  for (const GradientHook::Part& part : bucket.parts) {
    link->parts.push_back(
        {part.parameter, part.key.data(), part.first, part.count, part.contributes ? 1 : 0});
  }
  return {bucket.iteration,   bucket.index,       bucket.bucket_count,
          bucket.data,        bucket.count,       static_cast<gossamerDataType_t>(bucket.type),
          link->parts.data(), link->parts.size(), bucket.first_valid,
          bucket.valid_count};
}

Status status_of(int result, const char* what, uint32_t bucket) {
  if (result == 0) return Status::ok();
  return Status::error(Code::kAborted, std::string(what) + " of the gradient hook returned " +
                                           std::to_string(result) + " for bucket " +
                                           std::to_string(bucket));
}

Status call_back(const GradientHook::BucketView& bucket, Link* link, bool before) {
  const auto call = before ? link->calls.pre : link->calls.post;
  const gossamerBucket_t view = view_of(bucket, link);
  return status_of(call(&view, link->calls.context), "a callback", bucket.index);
}

GradientHook::Callbacks callbacks_of(Link* of) {
  const gossamerHookCallbacks_t& calls = of->calls;
  GradientHook::Callbacks made;
  made.context = of;
  if (calls.pre != nullptr) {
    made.pre = [](const GradientHook::BucketView& bucket, void* context) {
      return call_back(bucket, static_cast<Link*>(context), true);
    };
  }
  if (calls.post != nullptr) {
    made.post = [](const GradientHook::BucketView& bucket, void* context) {
      return call_back(bucket, static_cast<Link*>(context), false);
    };
  }
  if (calls.bytes_max != nullptr) {
    made.bytes_max = [](uint64_t bytes, void* context) {
      const gossamerHookCallbacks_t& c = static_cast<Link*>(context)->calls;
      return c.bytes_max(bytes, c.context);
    };
  }
  if (calls.encode != nullptr) {
    made.encode = [](const GradientHook::BucketView& bucket, std::span<const std::byte> from,
                     std::span<std::byte> into, uint64_t* bytes, void* context) {
      auto* const link = static_cast<Link*>(context);
      const gossamerBucket_t view = view_of(bucket, link);
      *bytes = into.size();
      return status_of(link->calls.encode(&view, from.data(), from.size(), into.data(), bytes,
                                          link->calls.context),
                       "encode", bucket.index);
    };
  }
  if (calls.decode != nullptr) {
    made.decode = [](const GradientHook::BucketView& bucket, gossamer::Rank rank,
                     std::span<const std::byte> from, std::span<std::byte> into, uint64_t* bytes,
                     void* context) {
      auto* const link = static_cast<Link*>(context);
      const gossamerBucket_t view = view_of(bucket, link);
      *bytes = into.size();
      return status_of(link->calls.decode(&view, rank, from.data(), from.size(), into.data(), bytes,
                                          link->calls.context),
                       "decode", bucket.index);
    };
  }
  return made;
}

}  // namespace

struct gossamerHook {
  std::vector<std::unique_ptr<Link>> links;  // what the hook calls: before it
  std::vector<std::unique_ptr<CodecOfC>> codecs;
  std::unique_ptr<GradientHook> hook;
};

namespace {

Result<GradientHook::Rule> rule_of(const gossamerHookRule_t& rule, gossamerHook* into) {
  const auto invalid = [](const char* text) { return Status::error(Code::kInvalidArgument, text); };
  if (rule.size != sizeof(rule)) {
    return invalid("a rule's size is wrong; begin with GOSSAMER_HOOK_RULE_INITIALIZER");
  }
  if (rule.warm_up == nullptr && rule.warm_up_count > 0) return invalid("a rule's warm-up is null");
  GradientHook::Rule made;
  if (rule.keys != nullptr) made.keys = rule.keys;
  made.count_min = rule.count_min;
  made.dimensions_min = rule.dimensions_min;
  if (rule.codec != nullptr) made.codec = rule.codec;
  if (rule.feedback != nullptr) made.feedback = rule.feedback;
  made.from_iteration = rule.from_iteration;
  for (size_t i = 0; i < rule.warm_up_count; ++i) {
    const gossamerHookStage_t& stage = rule.warm_up[i];
    if (stage.codec == nullptr) return invalid("the codec of a warm-up stage is null");
    made.warm_up.push_back({stage.from_iteration, stage.codec});
  }
  if (rule.own == nullptr) return made;
  if (rule.own->bytes_max == nullptr || rule.own->encode == nullptr ||
      rule.own->decode == nullptr) {
    return invalid("a codec of the caller's lacks bytes_max, encode or decode");
  }
  into->codecs.push_back(std::make_unique<CodecOfC>(*rule.own));
  made.own = into->codecs.back().get();
  return made;
}

Result<GradientHook::Options> options_of(const gossamerHookConfig_t* config, gossamerHook* into) {
  GradientHook::Options options;
  if (config == nullptr) return options;
  const auto invalid = [](const char* text) { return Status::error(Code::kInvalidArgument, text); };
  if (config->size != sizeof(*config)) {
    return invalid(
        "the configuration's size is wrong; begin with "
        "GOSSAMER_HOOK_CONFIG_INITIALIZER");
  }
  if ((config->callbacks == nullptr && config->callback_count > 0) ||
      (config->rules == nullptr && config->rule_count > 0)) {
    return invalid("the configuration counts callbacks or rules that are null");
  }
  const uint32_t exchange = number_of(config->exchange);
  options.exchange = static_cast<GradientHook::Exchange>(exchange < 3 ? exchange : UINT8_MAX);
  if (config->graph != nullptr) options.graph = config->graph->graph.get();
  options.bucket_bytes_max = config->bucket_bytes_max;
  options.first_bucket_bytes_max = config->first_bucket_bytes_max;
  options.ready_timeout = std::chrono::milliseconds(config->ready_timeout_ms);
  options.overlap = config->overlap != 0;
  options.seed = config->seed;
  for (size_t i = 0; i < config->callback_count; ++i) {
    const gossamerHookCallbacks_t& calls = config->callbacks[i];
    Link& link = *into->links.emplace_back(std::make_unique<Link>(Link{calls, {}}));
    options.callbacks.push_back(callbacks_of(&link));
  }
  for (size_t i = 0; i < config->rule_count; ++i) {
    Result<GradientHook::Rule> rule = rule_of(config->rules[i], into);
    if (!rule) return rule.status();
    options.rules.push_back(std::move(rule).value());
  }
  return options;
}

}  // namespace

extern "C" {

gossamerResult_t gossamerHookCreate(gossamerHook_t* hook, gossamerComm_t comm,
                                    const gossamerParameter_t* parameters, size_t parameter_count,
                                    const gossamerHookConfig_t* config) {
  if (hook == nullptr) return refuse(kNoResult);
  *hook = nullptr;
  if (comm == nullptr) return refuse(kNoComm);
  if (parameters == nullptr) return refuse("the list of parameters is null");
  return guarded([&] {
    auto made = std::make_unique<gossamerHook>();
    Result<GradientHook::Options> options = options_of(config, made.get());
    if (!options) return finish(options.status());
    std::vector<GradientHook::Parameter> list;
    for (size_t i = 0; i < parameter_count; ++i) {
      const gossamerParameter_t& p = parameters[i];
      if (p.key == nullptr) return refuse("the key of a parameter is null");
      if (p.shape == nullptr && p.dimensions > 0) return refuse("the shape of a parameter is null");
      list.push_back({p.key, {p.shape, p.shape + p.dimensions}, type_of(p.type)});
    }
    Result<std::unique_ptr<GradientHook>> created =
        GradientHook::create(*comm->communicator, std::move(list), *options);
    if (!created) return finish(created.status());
    made->hook = std::move(created).value();
    *hook = made.release();
    return gossamerSuccess;
  });
}

gossamerResult_t gossamerHookDestroy(gossamerHook_t hook) {
  if (hook == nullptr) return refuse(kNoHook);
  delete hook;
  return gossamerSuccess;
}

gossamerResult_t gossamerHookReady(gossamerHook_t hook, const char* key, void* gradient) {
  if (hook == nullptr) return refuse(kNoHook);
  if (key == nullptr) return refuse(kNoKey);
  return guarded([&] { return finish(hook->hook->ready(key, gradient)); });
}

gossamerResult_t gossamerHookReadyAt(gossamerHook_t hook, size_t parameter, void* gradient) {
  if (hook == nullptr) return refuse(kNoHook);
  return guarded([&] { return finish(hook->hook->ready_at(parameter, gradient)); });
}

gossamerResult_t gossamerHookSkip(gossamerHook_t hook, const char* key, void* into) {
  if (hook == nullptr) return refuse(kNoHook);
  if (key == nullptr) return refuse(kNoKey);
  return guarded([&] { return finish(hook->hook->skip(key, into)); });
}

gossamerResult_t gossamerHookSkipAt(gossamerHook_t hook, size_t parameter, void* into) {
  if (hook == nullptr) return refuse(kNoHook);
  return guarded([&] { return finish(hook->hook->skip_at(parameter, into)); });
}

gossamerResult_t gossamerHookMemory(gossamerHook_t hook, const char* key, void** memory) {
  if (hook == nullptr) return refuse(kNoHook);
  if (key == nullptr) return refuse(kNoKey);
  if (memory == nullptr) return refuse(kNoResult);
  return guarded([&] {
    const Result<void*> found = hook->hook->memory(key);
    if (!found) return finish(found.status());
    *memory = *found;
    return gossamerSuccess;
  });
}

gossamerResult_t gossamerHookWait(gossamerHook_t hook, gossamerHookStep_t* step) {
  if (hook == nullptr) return refuse(kNoHook);
  return guarded([&] {
    const Result<GradientHook::Step> done = hook->hook->wait();
    if (!done) return finish(done.status());
    if (step == nullptr) return gossamerSuccess;
    *step = {done->iteration, done->finite ? 1 : 0, done->rank,
             done->finite ? nullptr : done->key.data(), done->late};
    return gossamerSuccess;
  });
}

gossamerResult_t gossamerHookWaitFor(gossamerHook_t hook, const char* key) {
  if (hook == nullptr) return refuse(kNoHook);
  if (key == nullptr) return refuse(kNoKey);
  return guarded([&] { return finish(hook->hook->wait(key)); });
}

gossamerResult_t gossamerHookShard(gossamerHook_t hook, const char* key, uint64_t* first,
                                   uint64_t* count) {
  if (hook == nullptr) return refuse(kNoHook);
  if (key == nullptr) return refuse(kNoKey);
  if (first == nullptr || count == nullptr) return refuse(kNoResult);
  return guarded([&] {
    const Result<GradientHook::Shard> shard = hook->hook->shard(key);
    if (!shard) return finish(shard.status());
    *first = shard->first;
    *count = shard->count;
    return gossamerSuccess;
  });
}

gossamerResult_t gossamerHookGather(gossamerHook_t hook, void* const* values, size_t value_count) {
  if (hook == nullptr) return refuse(kNoHook);
  if (values == nullptr) return refuse("the list of values is null");
  return guarded([&] { return finish(hook->hook->gather(std::span(values, value_count))); });
}

gossamerResult_t gossamerHookRebind(gossamerHook_t hook, gossamerComm_t comm,
                                    gossamerGraph_t graph) {
  if (hook == nullptr) return refuse(kNoHook);
  if (comm == nullptr) return refuse(kNoComm);
  return guarded([&] {
    return finish(
        hook->hook->rebind(*comm->communicator, graph == nullptr ? nullptr : graph->graph.get()));
  });
}

gossamerResult_t gossamerHookHandOver(gossamerHook_t hook, int from, int to) {
  if (hook == nullptr) return refuse(kNoHook);
  return guarded([&] { return finish(hook->hook->hand_over(from, to)); });
}

gossamerResult_t gossamerHookIteration(gossamerHook_t hook, uint64_t* iteration) {
  if (hook == nullptr) return refuse(kNoHook);
  if (iteration == nullptr) return refuse(kNoResult);
  *iteration = hook->hook->iteration();
  return gossamerSuccess;
}

gossamerResult_t gossamerHookResidual(gossamerHook_t hook, const char* key, const float** residual,
                                      uint64_t* count) {
  if (hook == nullptr) return refuse(kNoHook);
  if (key == nullptr) return refuse(kNoKey);
  if (residual == nullptr || count == nullptr) return refuse(kNoResult);
  return guarded([&] {
    const Result<std::span<const float>> kept = hook->hook->residual(key);
    if (!kept) return finish(kept.status());
    *residual = kept->data();
    *count = kept->size();
    return gossamerSuccess;
  });
}

gossamerResult_t gossamerHookOwnerResidual(gossamerHook_t hook, const char* key,
                                           const float** residual, uint64_t* first,
                                           uint64_t* count) {
  if (hook == nullptr) return refuse(kNoHook);
  if (key == nullptr) return refuse(kNoKey);
  if (residual == nullptr || first == nullptr || count == nullptr) return refuse(kNoResult);
  return guarded([&] {
    const Result<GradientHook::OwnerResidual> kept = hook->hook->owner_residual(key);
    if (!kept) return finish(kept.status());
    *residual = kept->values.data();
    *first = kept->first;
    *count = kept->values.size();
    return gossamerSuccess;
  });
}

gossamerResult_t gossamerHookSave(gossamerHook_t hook, void* state, size_t* bytes) {
  if (hook == nullptr) return refuse(kNoHook);
  if (bytes == nullptr) return refuse(kNoResult);
  return guarded([&] {
    const Result<std::vector<std::byte>> saved = hook->hook->save();
    if (!saved) return finish(saved.status());
    const size_t room = std::exchange(*bytes, saved->size());
    if (state == nullptr) return gossamerSuccess;
    if (room < saved->size()) return refuse("the state does not fit; *bytes is what it takes");
    std::memcpy(state, saved->data(), saved->size());
    return gossamerSuccess;
  });
}

gossamerResult_t gossamerHookLoad(gossamerHook_t hook, const void* state, size_t bytes) {
  if (hook == nullptr) return refuse(kNoHook);
  if (state == nullptr) return refuse("the saved state is null");
  return guarded([&] {
    return finish(hook->hook->load(std::span(static_cast<const std::byte*>(state), bytes)));
  });
}

}  // extern "C"

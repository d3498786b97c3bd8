#include "transports/faulty.h"

#include <charconv>
#include <chrono>
#include <deque>
#include <map>
#include <random>

#include "src/env.h"
#include "transports/list.h"

namespace gossamer {

namespace {

using Clock = std::chrono::steady_clock;

class Faulty final : public Transport {
 public:
  Faulty(const FaultyOptions& options, const TransportConfig& config,
         std::unique_ptr<Transport> inner)
      : options_(options),
        inner_(std::move(inner)),
        name_(std::string("faulty ") + inner_->name()),
        // Ranks must not suffer in step.
        random_((options.seed != 0 ? options.seed : config.seed) * 1'000'003 +
                static_cast<uint64_t>(config.rank)) {}

  const char* name() const noexcept override { return name_.c_str(); }
  std::string address() const override { return inner_->address(); }
  Status start(std::vector<std::string> addresses) override {
    return inner_->start(std::move(addresses));
  }
  Limits limits() const noexcept override { return inner_->limits(); }
  Code open(Rank peer, Fault* fault) noexcept override { return inner_->open(peer, fault); }
  Status pin(std::span<std::byte> span) override { return inner_->pin(span); }
  void unpin(std::span<std::byte> span) override { inner_->unpin(span); }
  Traffic traffic() const noexcept override { return inner_->traffic(); }
  void notify(const Fault& fault) noexcept override { inner_->notify(fault); }
  int wait_fd() const noexcept override { return inner_->wait_fd(); }

  Code send(Rank peer, Lane lane, const Message& message, Token token,
            Fault* fault) noexcept override;
  Code recv(Rank peer, Lane lane, const Sink& sink, Token token, Fault* fault) noexcept override {
    if (failure_.code != Code::kOk) {
      *fault = failure_;
      return fault->code;
    }
    return inner_->recv(peer, lane, sink, token, fault);
  }
  Code poll(std::vector<Token>* done, Fault* fault) noexcept override;

  void abandon() noexcept override {
    queues_.clear();
    inner_->abandon();
  }

  // Time is not something wait_fd() tells, so whoever has messages held back does not sleep.
  bool arm() noexcept override {
    if (failure_.code != Code::kOk || Clock::now() < stalled_until_) return false;
    for (const auto& [key, queue] : queues_) {
      if (!queue.held.empty() && !queue.dead()) return false;
    }
    return inner_->arm();
  }

 private:
  struct Held {
    Message message;
    Token token;
    Clock::time_point due;
    bool lost = false;
  };
  struct Queue {
    std::deque<Held> held;
    bool dead() const { return !held.empty() && held.front().lost; }
  };

  double uniform() { return std::uniform_real_distribution<double>(0, 1)(random_); }

  const FaultyOptions options_;
  const std::unique_ptr<Transport> inner_;
  const std::string name_;
  std::mt19937_64 random_;
  uint64_t sent_ = 0;
  Clock::time_point stalled_until_{};
  std::map<std::pair<Rank, Lane>, Queue> queues_;
  Fault failure_;
};

Code Faulty::send(Rank peer, Lane lane, const Message& message, Token token,
                  Fault* fault) noexcept {
  if (failure_.code != Code::kOk) {
    *fault = failure_;
    return fault->code;
  }
  Queue& queue = queues_[{peer, lane}];
  if (queue.held.size() >= inner_->limits().window) return Code::kAgain;
  const bool plain = queue.held.empty() && options_.delay_us == 0 && options_.loss <= 0 &&
                     Clock::now() >= stalled_until_;
  Code code = Code::kPending;
  if (plain) {
    code = inner_->send(peer, lane, message, token, fault);
    if (code != Code::kOk && code != Code::kPending) return code;
  } else {
    const auto delay =
        std::chrono::nanoseconds(static_cast<int64_t>(uniform() * 1000.0 * options_.delay_us));
    const bool lost = options_.loss > 0 && uniform() < options_.loss;
    queue.held.push_back({message, token, Clock::now() + delay, lost});
  }
  ++sent_;
  if (sent_ == options_.stall_after) {
    stalled_until_ = Clock::now() + std::chrono::milliseconds(options_.stall_ms);
  }
  if (options_.cut_after == 0 || sent_ < options_.cut_after) return code;
  failure_.set(Code::kPeerLost, peer, "the link to rank %d was cut after %llu messages (faulty)",
               peer, static_cast<unsigned long long>(sent_));
  *fault = failure_;
  return fault->code;
}

Code Faulty::poll(std::vector<Token>* done, Fault* fault) noexcept {
  if (failure_.code != Code::kOk) {
    *fault = failure_;
    return fault->code;
  }
  const auto now = Clock::now();
  if (now < stalled_until_) return Code::kOk;
  for (auto& [key, queue] : queues_) {
    // A lost message stays at the front, so nothing follows it.
    while (!queue.held.empty() && !queue.dead() && queue.held.front().due <= now) {
      const Held held = queue.held.front();
      const Code code = inner_->send(key.first, key.second, held.message, held.token, fault);
      if (code == Code::kAgain) break;
      if (code != Code::kOk && code != Code::kPending) {
        failure_ = *fault;
        return code;
      }
      if (code == Code::kOk) done->push_back(held.token);
      queue.held.pop_front();
    }
  }
  const Code code = inner_->poll(done, fault);
  if (code != Code::kOk) failure_ = *fault;
  return code;
}

template <class T>
bool read_number(const std::string& text, T* into) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *into);
  return error == std::errc() && end == text.data() + text.size();
}

bool set_option(const std::string& name, const std::string& value, FaultyOptions* options) {
  if (name == "delay_us") return read_number(value, &options->delay_us);
  if (name == "cut_after") return read_number(value, &options->cut_after);
  if (name == "stall_after") return read_number(value, &options->stall_after);
  if (name == "stall_ms") return read_number(value, &options->stall_ms);
  if (name == "seed") return read_number(value, &options->seed);
  if (name == "loss") {
    return read_number(value, &options->loss) && options->loss >= 0 && options->loss <= 1;
  }
  return false;
}

Result<std::unique_ptr<Transport>> create(const TransportConfig& config) {
  Result<FaultyOptions> options = parse_faulty(env_string("GOSSAMER_FAULTY", "tcp"));
  if (!options) return options.status();
  return create_faulty(*options, config);
}

}  // namespace

Result<FaultyOptions> parse_faulty(const std::string& text) {
  FaultyOptions options;
  const size_t colon = text.find(':');
  options.inner = text.substr(0, colon);
  size_t at = colon == std::string::npos ? text.size() : colon + 1;
  while (at < text.size()) {
    const size_t comma = std::min(text.find(',', at), text.size());
    const std::string part = text.substr(at, comma - at);
    const size_t equals = part.find('=');
    if (equals == std::string::npos ||
        !set_option(part.substr(0, equals), part.substr(equals + 1), &options)) {
      return Status::error(Code::kInvalidArgument,
                           "faulty transport: \"" + part +
                               "\" is none of delay_us=, loss= (0 to 1), cut_after=, stall_after=, "
                               "stall_ms=, seed= with a number");
    }
    at = comma + 1;
  }
  return options;
}

std::unique_ptr<Transport> make_faulty(const FaultyOptions& options, const TransportConfig& config,
                                       std::unique_ptr<Transport> inner) {
  return std::make_unique<Faulty>(options, config, std::move(inner));
}

Result<std::unique_ptr<Transport>> create_faulty(const FaultyOptions& options,
                                                 const TransportConfig& config) {
  const TransportFactory* factory = find_transport(options.inner);
  if (factory == nullptr || options.inner == "faulty") {
    return Status::error(Code::kInvalidArgument, "faulty transport: there is no transport \"" +
                                                     options.inner +
                                                     "\" to wrap; transports/list.h names them");
  }
  Result<std::unique_ptr<Transport>> inner = factory->create(config);
  if (!inner) return inner.status();
  return make_faulty(options, config, std::move(*inner));
}

const TransportFactory faulty_transport{"faulty", create};

}  // namespace gossamer

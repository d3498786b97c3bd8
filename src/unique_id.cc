#include "src/unique_id.h"

#include <fmt/format.h>
#include <openssl/crypto.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <list>
#include <mutex>
#include <system_error>

#include "src/bootstrap.h"
#include "src/check.h"
#include "src/env.h"
#include "src/system_text.h"
#include "src/wire.h"

namespace gossamer {
namespace {

constexpr std::array<char, 8> kMagic{'G', 'O', 'S', 'S', 'U', 'I', 'D', '\0'};
constexpr uint16_t kVersion = 1;
constexpr size_t kZeroBytes = 48;
constexpr size_t kChecksumBytes = 8;
constexpr size_t kCheckedBytes = sizeof(UniqueId::bytes) - kChecksumBytes;
constexpr std::chrono::milliseconds kLinger{5'000};

uint64_t checksum_of(std::span<const std::byte> bytes) {
  const Key digest = hmac_sha256(std::as_bytes(std::span(kMagic)), bytes);
  uint64_t sum = 0;
  std::memcpy(&sum, digest.data(), sizeof(sum));
  return sum;
}

Status bad_id(const char* what) {
  return Status::error(Code::kInvalidArgument,
                       fmt::format("this is no usable unique id: {}", what));
}

// The threads behind UniqueId::create(). Each ends by itself once its group has met or its time is
// up; the rest are stopped when the process ends.
class ThreadKeeper {
 public:
  static ThreadKeeper& instance() {
    // OpenSSL registers its own clean-up when it starts. Started first, it outlives the threads.
    // Some option must be named, or the call does nothing at all.
    static const int kOpenssl = OPENSSL_init_crypto(OPENSSL_INIT_LOAD_CRYPTO_STRINGS, nullptr);
    static ThreadKeeper keeper(kOpenssl);
    return keeper;
  }

  void keep(std::unique_ptr<RendezvousThread> thread, uint64_t session) {
    const std::lock_guard lock(m_);
    own();
    threads_.remove_if([](const Kept& kept) { return kept.thread->done(); });
    threads_.push_back({std::move(thread), session});
  }

  void stop(uint64_t session) {
    const std::lock_guard lock(m_);
    own();
    for (const Kept& kept : threads_) {
      if (kept.session == session) {
        kept.thread->stop();
      }
    }
  }

 private:
  explicit ThreadKeeper(int) : owner_(::getpid()) {}
  ~ThreadKeeper() {
    if (owner_ != ::getpid()) {
      forget();
    }
    for (const Kept& kept : threads_) {
      kept.thread->stop();
    }
  }
  void own() {
    if (owner_ != ::getpid()) {  // a forked child: the parent's threads do not exist here
      forget();
      owner_ = ::getpid();
    }
  }
  void forget() {
    for (Kept& kept : threads_) {
      static_cast<void>(kept.thread.release());  // joining a thread that is not there would hang
    }
    threads_.clear();
  }

  struct Kept {
    std::unique_ptr<RendezvousThread> thread;
    uint64_t session;
  };
  std::mutex m_;
  std::list<Kept> threads_;  // guarded by m_
  pid_t owner_;              // guarded by m_
};

}  // namespace

UniqueId encode(const UniqueIdFields& fields) {
  WireWriter out;
  out.bytes(std::as_bytes(std::span(kMagic)));
  out.u16(kVersion);
  out.u16(0);
  put_address(&out, fields.address);
  out.bytes(fields.key);
  out.u64(fields.session);
  out.zeros(kZeroBytes);
  GOSSAMER_CHECK(out.size() == kCheckedBytes);
  out.u64(checksum_of(out.data()));
  UniqueId id;
  std::copy(out.data().begin(), out.data().end(), id.bytes.begin());
  return id;
}

Result<UniqueIdFields> parse_unique_id(const UniqueId& id) {
  WireReader in(id.bytes);
  const std::span<const std::byte> magic = in.bytes(kMagic.size());
  if (std::all_of(id.bytes.begin(), id.bytes.end(),
                  [](std::byte b) { return b == std::byte{0}; })) {
    return bad_id("it is empty; make one with UniqueId::create() on one rank and carry it to all");
  }
  if (std::memcmp(magic.data(), kMagic.data(), kMagic.size()) != 0) {
    return bad_id("it was not made by Gossamer; carry all 128 bytes, in binary");
  }
  const uint16_t version = in.u16();
  if (version != kVersion) {
    return bad_id("it was made by another version of Gossamer; use one version on all ranks");
  }
  const uint16_t zero = in.u16();
  const std::optional<SocketAddress> address = get_address(&in);
  UniqueIdFields fields;
  const std::span<const std::byte> key = in.bytes(fields.key.size());
  std::copy(key.begin(), key.end(), fields.key.begin());
  fields.session = in.u64();
  const std::span<const std::byte> rest = in.bytes(kZeroBytes);
  const uint64_t checksum = in.u64();
  if (checksum != checksum_of(std::span(id.bytes).first(kCheckedBytes))) {
    return bad_id("it was cut or altered on its way; carry all 128 bytes, in binary");
  }
  const bool zeros =
      std::all_of(rest.begin(), rest.end(), [](std::byte b) { return b == std::byte{0}; });
  if (!address || zero != 0 || !zeros || !in.done()) {
    return bad_id("its fields make no sense, though its checksum is right");
  }
  fields.address = *address;
  return fields;
}

Result<std::unique_ptr<RendezvousThread>> RendezvousThread::start(Fd listening,
                                                                  const RendezvousConfig& config) {
  std::unique_ptr<RendezvousThread> made(new RendezvousThread);
  made->stop_ = Fd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!made->stop_.is_open()) {
    return Status::error(Code::kSystem, "eventfd: " + system_text(errno));
  }
  const int stop = made->stop_.get();
  try {
    made->thread_ =
        std::thread([self = made.get(), config, stop, socket = std::move(listening)]() mutable {
          {
            RendezvousServer server(std::move(socket), stop, config);
            server.run();
          }
          {
            const std::lock_guard lock(self->m_);
            self->stop_.reset();
          }
          self->done_.store(true, std::memory_order_release);
        });
  } catch (const std::system_error& error) {
    return Status::error(Code::kSystem,
                         fmt::format("cannot start the meeting point's thread: {}; raise `ulimit "
                                     "-u` or the container's pids limit",
                                     error.what()));
  }
  return made;
}

RendezvousThread::~RendezvousThread() {
  if (thread_.joinable()) {
    thread_.join();
  }
}

void RendezvousThread::stop() {
  const std::lock_guard lock(m_);
  if (!stop_.is_open()) {
    return;
  }
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = ::write(stop_.get(), &one, sizeof(one));
}

Result<OpenedRendezvous> open_rendezvous_thread(const std::string& interfaces,
                                                const std::string& port_range,
                                                std::chrono::milliseconds timeout,
                                                std::chrono::milliseconds linger) {
  auto chosen = choose_interfaces(interfaces);
  if (!chosen) {
    return chosen.status();
  }
  auto socket = listen_on(chosen->front().address, port_range);
  if (!socket) {
    return socket.status();
  }
  Fd listening(*socket);
  auto address = local_address(listening.get());
  if (!address) {
    return address.status();
  }
  OpenedRendezvous opened;
  opened.fields.address = *address;
  Status random = random_bytes(opened.fields.key);
  if (random) {
    random = random_bytes(std::as_writable_bytes(std::span(&opened.fields.session, 1)));
  }
  if (!random) {
    return random;
  }
  RendezvousConfig config;
  config.key = opened.fields.key;
  config.handshake_session = opened.fields.session;
  config.group_session = opened.fields.session;
  config.timeout = timeout;
  config.linger = linger;
  auto thread = RendezvousThread::start(std::move(listening), config);
  if (!thread) {
    return thread.status();
  }
  opened.thread = std::move(*thread);
  return opened;
}

Result<UniqueId> open_rendezvous(const std::string& interfaces, const std::string& port_range) {
  auto timeout = env_duration("GOSSAMER_TIMEOUT_MS", std::chrono::milliseconds(30'000));
  if (!timeout) {
    return timeout.status();
  }
  ThreadKeeper& keeper = ThreadKeeper::instance();
  auto opened = open_rendezvous_thread(interfaces, port_range, *timeout * 4, kLinger);
  if (!opened) {
    return opened.status();
  }
  const UniqueId id = encode(opened->fields);
  keeper.keep(std::move(opened->thread), opened->fields.session);
  return id;
}

Result<UniqueId> UniqueId::create() {
  return open_rendezvous(env_string("GOSSAMER_SOCKET_IFNAME"), env_string("GOSSAMER_PORT_RANGE"));
}

void UniqueId::close() const {
  const Result<UniqueIdFields> fields = parse_unique_id(*this);
  if (fields) {
    ThreadKeeper::instance().stop(fields->session);
  }
}

}  // namespace gossamer

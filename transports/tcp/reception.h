// What transports share that keep a control connection to every linked peer: greeting who connects,
// hearing what peers say and how they end, and telling them why this rank does.
//
//   Links      The lower rank connects, when asked to or when the higher one, having waited,
//              knocks.
//   Threads    driving thread.
//   Blocking   never; leave_word() as the greeter's.

#pragma once

#include <chrono>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "transports/tcp/frame.h"
#include "transports/tcp/greeter.h"

namespace gossamer::tcp {

// After this the higher rank asks the lower one to connect.
inline constexpr std::chrono::milliseconds kKnockAfter{50};
// How long what has failed waits for somebody to say why.
inline constexpr std::chrono::milliseconds kGrace{200};

// What has come on a control connection, as far as it fits; empty: nothing more. *ended says how
// the connection ended, where it has, and stays null else.
std::span<const std::byte> receive(int control, std::span<std::byte> buffer, const char** ended);
// A control connection is almost always empty: what it does not take at once is not worth waiting
// for.
void send_record(int control, const Record& record);
// Reads what is left. Unread bytes would turn the close into a reset, which may overtake what was
// sent last.
void drain(int control);
// That a peer's records make no sense.
Code senseless(Rank rank, Fault* fault);

class Reception {
 public:
  // Takes a proven connection.
  using Admit = std::function<Code(const Welcome& welcome, Fault* fault)>;
  // Reads a linked peer's control connection; kPeerLost once it has ended.
  using Read = std::function<Code(Rank rank, Fault* fault)>;

  Reception(const TransportConfig& config, Greeter& greeter) : config_(config), greeter_(greeter) {}

  void start(std::vector<std::string> addresses) { addresses_ = std::move(addresses); }

  // Starts to connect. kOk, or *fault says why not.
  Code connect(Rank rank, uint8_t lane, Fault* fault);
  // kTimeout, kPeerLost, with the sentence.
  Code late(Rank rank, Fault* fault) const;
  Code lost(Rank rank, const std::string& how, Fault* fault) const;

  // Moves connections on that are being made, and hears all linked peers. A fault: a notice, a
  // death, or word from a rank without a link. Admitting adds to `linked`.
  Code hear(const std::vector<Rank>& linked, const Admit& admit, const Read& read, Fault* fault);
  // A rank that cannot be reached, or ended before its link was open. It may have failed, and then
  // accepts nobody: others may tell what it failed of.
  void suspect(const Fault& unreachable);
  // The first one that was suspected, once nobody has told for kGrace. kAgain: look again soon.
  Code judge(Fault* fault) const;

  // Tells ranks without a link why this one has failed; the first few, as all ranks do, so that all
  // hear in larger groups too.
  void leave_word(const std::function<bool(Rank)>& is_linked, const Record& record) const;

 private:
  using Clock = std::chrono::steady_clock;

  Code greet(const Admit& admit, Fault* fault);

  const TransportConfig config_;
  Greeter& greeter_;
  std::vector<std::string> addresses_;
  std::vector<Welcome> welcomes_;
  Fault unreachable_;
  Clock::time_point unreachable_since_{};
};

}  // namespace gossamer::tcp

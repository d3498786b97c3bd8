// gossamer gossip-demo: averages and trains while processes are killed and join.

#include <fmt/format.h>

#include <cmath>
#include <fstream>
#include <memory>
#include <string>

#include "perf/commands.h"
#include "perf/gossip_demo.h"
#include "src/auth.h"

namespace gossamer {
namespace {

constexpr int kRanksMax = 64;
constexpr double kSecondsMax = 3'600;
constexpr double kShortestInterval = 0.1;
constexpr uint64_t kDimMax = 4'096;
constexpr double kProcessesMax = 4'096;

Status bad(std::string sentence) {
  return Status::error(Code::kInvalidArgument, std::move(sentence));
}

Status check_interval(const char* flag, double every) {
  if (every == 0 || (every >= kShortestInterval && every <= kSecondsMax)) return Status::ok();
  return bad(fmt::format("{} {} is neither 0, for never, nor {} to {} seconds", flag, every,
                         kShortestInterval, kSecondsMax));
}

Status check(const GossipDemo& demo) {
  if (demo.ranks < 2 || demo.ranks > kRanksMax) {
    return bad(fmt::format("--ranks {}; 2 to {} processes can run", demo.ranks, kRanksMax));
  }
  if (!(demo.seconds >= 1 && demo.seconds <= kSecondsMax)) {
    return bad(fmt::format("--seconds {}; give 1 to {}", demo.seconds, kSecondsMax));
  }
  if (demo.dim < 1 || demo.dim > kDimMax) {
    return bad(fmt::format("--dim {}; give 1 to {} elements", demo.dim, kDimMax));
  }
  if (Status sound = check_interval("--kill-every", demo.kill_every); !sound) return sound;
  if (Status sound = check_interval("--join-every", demo.join_every); !sound) return sound;
  if (demo.join_every > 0 && demo.seconds / demo.join_every > kProcessesMax) {
    return bad(fmt::format("--join-every {} for {} seconds starts more than {} processes",
                           demo.join_every, demo.seconds, kProcessesMax));
  }
  return Status::ok();
}

int show(GossipDemo demo) {
  if (Status sound = check(demo); !sound) return complain(sound, kExitUsage);
  std::ofstream picture;
  if (!demo.svg.empty()) {  // now, not after all that time
    picture.open(demo.svg);
    if (!picture) return complain(Status::error(Code::kSystem, "cannot write '" + demo.svg + "'"));
  }
  Key key{};
  if (Status drawn = random_bytes(key); !drawn) return complain(drawn);
  demo.key.assign(reinterpret_cast<const char*>(key.data()), key.size());
  fmt::print("{} processes train a model of {} elements and average a vector of as many\n",
             demo.ranks, demo.dim);
  const auto rows = run_gossip_demo(demo);
  if (!rows) return complain(rows.status());
  if (!rows->empty()) {
    const GossipDemoRow& last = rows->back();
    fmt::print(
        "loss {:.4f} -> {:.4f}; {} died, {} joined while it ran; all others left in good order\n",
        rows->front().loss, last.loss, last.died, last.joined - demo.ranks);
  }
  if (demo.svg.empty()) return 0;
  picture << draw_gossip_demo(demo, *rows);
  picture.close();
  if (picture) return 0;
  return complain(Status::error(Code::kSystem, "cannot write '" + demo.svg + "'"));
}

}  // namespace

void add_gossip_demo_command(CLI::App& app, int* exit_code) {
  auto demo = std::make_shared<GossipDemo>();
  CLI::App* command = app.add_subcommand(
      "gossip-demo", "Processes average and train while some are killed and others join");
  GossipDemo& d = *demo;
  command->add_option("--ranks,-n", d.ranks, "processes to begin with")->capture_default_str();
  command->add_option("--seconds", d.seconds, "how long it runs")->capture_default_str();
  command
      ->add_option("--kill-every", d.kill_every,
                   "seconds between kills, the first member first; 0: none")
      ->capture_default_str();
  command->add_option("--join-every", d.join_every, "seconds between joins; 0: none")
      ->capture_default_str();
  command->add_option("--dim", d.dim, "elements of the model, and of the vector")
      ->capture_default_str();
  command->add_option("--seed", d.seed, "of samples, vectors and victims")->capture_default_str();
  command->add_option("--svg", d.svg, "draw it into this file");
  command->callback([demo, exit_code] { *exit_code = show(*demo); });
}

}  // namespace gossamer

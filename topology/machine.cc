#include "topology/machine.h"

#include <fmt/format.h>
#include <sched.h>

#include <algorithm>
#include <bitset>
#include <charconv>
#include <map>
#include <thread>

#include "topology/cache.h"

namespace gossamer {
namespace {

// Where devices tell nothing better. Measured on a 2-core AMD EPYC (Zen 5) virtual machine,
// Linux 6.18, with `gossamer perf`. They decide between algorithms, so what matters is their ratio;
// a machine with other ratios sets GOSSAMER_ALGORITHM.
LinkCost shm_cost() {
  LinkCost c;
  c.latency_us = 0.07;
  c.overhead_us = 0.03;
  c.send_us_per_byte = 1 / 90e3;  // one copy into a slot
  c.recv_us_per_byte = 1 / 35e3;  // lines from the other core's cache
  return c;
}

LinkCost tcp_loopback_cost() {
  LinkCost c;
  c.latency_us = 1.0;
  c.overhead_us = 1.6;
  c.send_us_per_byte = 1 / 9e3;
  c.recv_us_per_byte = 1 / 9e3;
  c.long_bytes = 1024 * 1024;
  c.long_us_per_byte = 1 / 20e3;
  return c;
}

// 10 Gbit/s Ethernet: what two hosts have when nothing better is known.
LinkCost tcp_network_cost() {
  LinkCost c;
  c.latency_us = 25;
  c.overhead_us = 2;
  c.send_us_per_byte = 1 / 9e3;
  c.recv_us_per_byte = 1 / 9e3;
  c.wire_us_per_byte = 1 / 1.17e3;
  return c;
}

// 100 Gbit/s InfiniBand or RoCE, as its vendors and perftest give it; not measured by us.
LinkCost verbs_cost() {
  LinkCost c;
  c.latency_us = 1.5;
  c.overhead_us = 0.3;
  c.wire_us_per_byte = 1 / 12e3;
  c.lends = true;
  return c;
}

// By UCX's shared memory: dearer than ours by message, and a run enters a landing area first.
LinkCost ucx_shm_cost() {
  LinkCost c = shm_cost();
  c.latency_us = 0.12;
  c.overhead_us = 0.12;
  c.send_us_per_byte = 1 / 45e3;
  return c;
}

LinkCost inside_cost(const std::string& transport) {
  if (transport == "ucx+shm") return ucx_shm_cost();
  if (transport == "verbs") return verbs_cost();
  return transport == "tcp" || transport == "ucx" ? tcp_loopback_cost() : shm_cost();
}

LinkCost at_speed(LinkCost cost, const LinkSpeed& speed) {
  if (speed.bytes_per_us > 0) cost.wire_us_per_byte = 1 / speed.bytes_per_us;
  if (speed.byte_us > 0) cost.send_us_per_byte = cost.recv_us_per_byte = speed.byte_us;
  if (speed.fold_byte_us > 0) cost.fold_us_per_byte = speed.fold_byte_us;
  if (speed.message_us > 0) {
    cost.overhead_us = speed.message_us;
    cost.latency_us = std::max(cost.latency_us, speed.message_us);
  }
  return cost;
}

}  // namespace

int usable_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof(set), &set) == 0) return std::max(1, CPU_COUNT(&set));
  return std::max(1U, std::thread::hardware_concurrency());
}

std::string usable_core_numbers() {
  cpu_set_t set;
  CPU_ZERO(&set);
  std::string text;
  if (sched_getaffinity(0, sizeof(set), &set) != 0) {
    return fmt::format("0-{}", usable_cores() - 1);
  }
  for (int core = 0; core < CPU_SETSIZE; ++core) {
    if (!CPU_ISSET(core, &set)) continue;
    const int first = core;
    while (core + 1 < CPU_SETSIZE && CPU_ISSET(core + 1, &set)) ++core;
    text += fmt::format("{}{}", text.empty() ? "" : ",", first);
    if (core > first) text += fmt::format("-{}", core);
  }
  return text;
}

int cores_in_any(const std::vector<std::string>& core_numbers) {
  std::bitset<CPU_SETSIZE> all;
  for (const std::string& text : core_numbers) {
    for (size_t at = 0; at < text.size();) {
      const size_t end = std::min(text.find(',', at), text.size());
      unsigned first = 0;
      unsigned last = 0;
      const char* const stop = text.data() + end;
      auto parsed = std::from_chars(text.data() + at, stop, first);
      last = first;
      if (parsed.ec == std::errc() && parsed.ptr != stop && *parsed.ptr == '-') {
        parsed = std::from_chars(parsed.ptr + 1, stop, last);
      }
      if (parsed.ec == std::errc() && parsed.ptr == stop && last < all.size()) {
        for (unsigned core = first; core <= last; ++core) all.set(core);
      }
      at = end + 1;
    }
  }
  return std::max(1, static_cast<int>(all.count()));
}

HostSize this_host() {
  return {usable_cores(), last_level_cache_bytes()};
}

Machine default_machine(Rank ranks, const std::string& transport) {
  return machine_of(std::vector<std::string>(static_cast<size_t>(ranks), "here"), this_host(),
                    transport, "tcp");
}

Machine machine_of(const std::vector<std::string>& host_per_rank, const HostSize& host,
                   const std::string& inside, const std::string& between, const LinkSpeed& speed) {
  Machine machine;
  std::map<std::string, Rank> numbers;
  for (const std::string& name : host_per_rank) {
    const auto next = static_cast<Rank>(numbers.size());
    machine.host_of.push_back(numbers.try_emplace(name, next).first->second);
  }
  machine.cores_per_host = host.cores;
  machine.cache_bytes = static_cast<double>(host.cache_bytes);
  machine.fold_us_per_byte = 1 / 100e3;
  machine.copy_us_per_byte = 1 / 100e3;
  machine.memory_us_per_byte = 1 / 38e3;
  machine.same_host = inside_cost(inside);
  if (inside == "verbs") machine.same_host = at_speed(machine.same_host, speed);
  machine.other_host = at_speed(between == "verbs" ? verbs_cost() : tcp_network_cost(), speed);
  return machine;
}

}  // namespace gossamer

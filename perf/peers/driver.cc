#include "perf/peers/driver.h"

#include <sys/mman.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <sstream>
#include <utility>

#include "perf/measure.h"
#include "perf/pattern.h"
#include "perf/table.h"

namespace gossamer {
namespace {

std::byte* buffer(uint64_t bytes) {
  void* made = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (made == MAP_FAILED) std::abort();
  std::memset(made, 0, bytes);
  return static_cast<std::byte*>(made);
}

int fail(const Status& status) {
  std::fprintf(stderr, "%s\n", status.to_string().c_str());
  return 1;
}

// The same cell as Gossamer's own runner measures: all-reduce in place, all-gather out of place.
Result<Cell> run_cell(const Peer& peer, Group& group, Collective collective, uint64_t bytes,
                      double seconds, std::byte* input, std::byte* output) {
  const auto size = static_cast<uint64_t>(peer.size);
  const bool gathers = collective == Collective::kAllGather;
  Cell cell;
  cell.collective = collective;
  cell.ranks = peer.size;
  cell.type = gathers ? DataType::kUint8 : DataType::kFloat32;
  cell.in_place = !gathers;
  cell.checked = true;
  cell.count = std::max<uint64_t>(gathers ? bytes / size : bytes / sizeof(float), 1);
  cell.bytes = gathers ? cell.count * size : cell.count * sizeof(float);
  cell.algorithm = peer.name;
  cell.transport = peer.name;
  Pattern pattern({collective, cell.type, cell.op, peer.size, cell.count, cell.in_place});
  std::byte* const from = gathers ? input : output;
  Measured measured;
  measured.prepare = [&](int round) {
    pattern.reseed(static_cast<uint32_t>(round + 1));
    std::memset(output, 0xA5, cell.bytes);
    pattern.fill(peer.rank, from);
  };
  measured.run = [&](int index) {
    pattern.stamp(index, from);
    if (gathers)
      peer.all_gather(from, output, cell.count);
    else
      peer.all_reduce(reinterpret_cast<float*>(output), cell.count);
    return Status::ok();
  };
  measured.inspect = [&](int operations) -> uint64_t {
    return pattern.can_foretell(operations) ? pattern.wrong(output, operations) : 0;
  };
  if (gathers && peer.prepare_all_gather) peer.prepare_all_gather(from, output, cell.count);
  if (!gathers && peer.prepare_all_reduce)
    peer.prepare_all_reduce(reinterpret_cast<float*>(output), cell.count);
  const Result<Timing> timing =
      measure(group, pace_for(cell.bytes, 0, bytes <= (1U << 20) ? 40 : 5, seconds), measured);
  if (!timing) return timing.status();
  cell.timing = *timing;
  return cell;
}

}  // namespace

PeerFlags::PeerFlags(int argc, char** argv) {
  for (int i = 1; i + 1 < argc; i += 2) values_[argv[i]] = argv[i + 1];
}

std::string PeerFlags::get(const std::string& name, const std::string& fallback) const {
  const auto found = values_.find("--" + name);
  return found == values_.end() ? fallback : found->second;
}

int run_peer(const Peer& peer, const PeerFlags& flags) {
  auto board = Board::open(flags.get("board"), peer.size);
  if (!board) return fail(board.status());
  BoardGroup group(std::move(board).value(), peer.rank, peer.size, peer.progress);
  std::vector<uint64_t> sizes;
  std::stringstream list(flags.get("sizes", "8"));
  uint64_t longest = 0;
  for (std::string text; std::getline(list, text, ',');) {
    const auto bytes = parse_bytes(text);
    if (!bytes) return fail(bytes.status());
    sizes.push_back(*bytes);
    longest = std::max(longest, *bytes);
  }
  std::byte* const input = buffer(longest + 4096);
  std::byte* const output = buffer(longest + 4096);
  const std::string ops = flags.get("ops", "all_reduce,all_gather");
  const double seconds = std::atof(flags.get("seconds", "0.5").c_str());
  if (peer.rank == 0) std::printf("%s\n", kCsvColumns);
  for (const Collective collective : {Collective::kAllReduce, Collective::kAllGather}) {
    if (ops.find(name_of(collective)) == std::string::npos) continue;
    for (const uint64_t bytes : sizes) {
      const auto cell = run_cell(peer, group, collective, bytes, seconds, input, output);
      if (!cell) return fail(cell.status());
      if (peer.rank == 0) std::printf("%s\n", csv_line(*cell).c_str());
      std::fflush(stdout);
    }
  }
  if (Status s = group.barrier(); !s) return fail(s);
  return 0;
}

}  // namespace gossamer

#include "perf/peers/driver.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <sstream>
#include <utility>

#include "perf/measure.h"
#include "perf/pattern.h"
#include "perf/table.h"
#include "src/call_buffers.h"

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

// The same cell as Gossamer's own runner measures.
Result<Cell> run_cell(const Peer& peer, Group& group, Collective collective, uint64_t bytes,
                      double seconds, std::byte* input, std::byte* output) {
  Call shape;
  shape.collective = collective;
  shape.in_place = collective == Collective::kAllReduce || collective == Collective::kBroadcast;
  Cell cell;
  cell.collective = collective;
  cell.ranks = peer.size;
  cell.type = reduces(collective) ? DataType::kFloat32 : DataType::kUint8;
  cell.in_place = shape.in_place;
  cell.checked = true;
  const uint64_t unit = size_of(cell.type) * shares_of(collective, peer.size);
  cell.count = shape.count = std::max<uint64_t>(bytes / unit, 1);
  cell.bytes = cell.count * unit;
  cell.algorithm = cell.transport = peer.name;
  const CallBuffers buffers = buffers_of(shape, peer.rank, peer.size);
  CollectiveCall call{
      collective, buffers.in_place ? output : input, output, cell.count, cell.type, cell.op,
      cell.root};
  if (buffers.input_count == 0) call.input = nullptr;
  if (buffers.output_count == 0) call.output = nullptr;
  auto* const from = const_cast<std::byte*>(static_cast<const std::byte*>(call.input));
  auto* const into = static_cast<std::byte*>(call.output);
  Pattern pattern(
      {collective, cell.type, cell.op, peer.size, cell.count, cell.in_place, cell.root});
  Measured measured;
  measured.prepare = [&](int round) {
    pattern.reseed(static_cast<uint32_t>(round + 1));
    std::memset(output, 0xA5, cell.bytes);
    pattern.fill(peer.rank, from);
  };
  measured.run = [&](int index) {
    pattern.stamp(index, from);
    peer.run(call);
    return Status::ok();
  };
  measured.inspect = [&](int operations) -> uint64_t {
    return pattern.can_foretell(operations) ? pattern.wrong(into, operations) : 0;
  };
  if (peer.prepare) peer.prepare(call);
  Pace pace = pace_for(cell.bytes, 0, bytes <= (1U << 20) ? 40 : 5, seconds);
  pace.bursts = has_root(collective);
  const Result<Timing> timing = measure(group, pace, measured);
  if (!timing) return timing.status();
  cell.timing = *timing;
  return cell;
}

// Whether `name` is among those in a list by commas.
bool listed(const std::string& list, std::string_view name) {
  std::stringstream words(list);
  for (std::string word; std::getline(words, word, ',');) {
    if (word == name) return true;
  }
  return false;
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
  for (int i = 0; i < kCollectiveCount; ++i) {
    const auto collective = static_cast<Collective>(i);
    const bool has = std::ranges::find(peer.lacks, collective) == peer.lacks.end();
    if (!has || !listed(ops, name_of(collective))) continue;
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

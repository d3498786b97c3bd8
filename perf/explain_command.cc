// gossamer explain: every candidate for a call with its predicted time, cheapest first.

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gossamer/codec.h"
#include "gossamer/gossip.h"
#include "gossamer/transport.h"
#include "perf/check_flags.h"
#include "perf/commands.h"
#include "perf/table.h"
#include "src/call_buffers.h"
#include "src/price.h"
#include "topology/machine.h"

namespace gossamer {
namespace {

struct Flags {
  std::string collective = "all_reduce";
  std::string bytes = "1M";
  std::string type = "float32";
  std::string op = "sum";
  std::string algorithm;
  std::string transport = "shm";
  std::string between = "auto";
  std::string codec;
  std::string graph = "one_peer_exponential";
  uint64_t round = 0;
  uint64_t seed = 1;
  int ranks = 4;
  int root = 0;
  int hosts = 1;
  int cores = 0;
  bool in_place = false;
};

Status bad(const std::string& message) {
  return Status::error(Code::kInvalidArgument, message);
}

Result<Call> read_call(const Flags& f) {
  Call call;
  const auto collective = parse_collective(f.collective);
  if (!collective)
    return bad("'" + f.collective + "' is no collective; there are " +
               known_names<Collective>(kCollectiveCount) +
               ", neighbor_average and neighbor_all_gather");
  const auto type = parse_data_type(f.type);
  if (!type)
    return bad("'" + f.type + "' is no data type; there are " +
               known_names<DataType>(kDataTypeCount));
  const auto op = parse_reduce_op(f.op);
  if (!op)
    return bad("'" + f.op + "' is no reduction; there are " +
               known_names<ReduceOp>(kReduceOpCount));
  const Result<uint64_t> bytes = parse_bytes(f.bytes);
  if (!bytes) return bytes.status();
  if (f.ranks < 1 || f.ranks > 65536) return bad("--ranks wants 1 to 65536");
  if (f.hosts < 1 || f.hosts > f.ranks) return bad("--hosts wants 1 to the number of ranks");
  if (f.root < 0 || f.root >= f.ranks)
    return bad(fmt::format("--root {} is none of the {} ranks", f.root, f.ranks));
  const uint64_t parts = shares_of(*collective, f.ranks);
  call.collective = *collective;
  call.type = *type;
  call.op = *op;
  call.count = std::max<uint64_t>(*bytes / (parts * size_of(*type)), 1);
  call.in_place = f.in_place;
  call.root = has_root(*collective) ? f.root : 0;
  return call;
}

// What this host's transport of that name says of its links; nothing where it has none.
Limits limits_of(const std::string& transport) {
  const auto made = find_transport(transport)->create(TransportConfig());
  return made ? (*made)->limits() : Limits();
}

// Of the links that the call crosses, as a communicator takes them.
uint64_t eager_bytes(const Flags& f) {
  uint64_t least = UINT64_MAX;
  if (f.hosts < f.ranks) least = limits_of(f.transport).eager_bytes;
  if (f.hosts > 1) least = std::min(least, limits_of(f.between).eager_bytes);
  return f.ranks > 1 ? least : 0;
}

// Of a collective that has one: its round's matrix, which the call points to.
Status read_graph(const Flags& f, Call* call, std::shared_ptr<const Mixing>* mixing) {
  if (!has_graph(call->collective)) return Status::ok();
  const auto graph = make_graph(f.graph, f.ranks, f.seed);
  if (!graph) return graph.status();
  call->graph = (*graph)->identity();
  call->round = (*graph)->position(f.round);
  *mixing = (*graph)->mixing(call->round);
  call->mixing = mixing->get();
  return Status::ok();
}

// Of a call that has one.
Status read_codec(const Flags& f, Call* call, std::unique_ptr<Codec>* codec) {
  if (f.codec.empty()) return Status::ok();
  auto made = make_codec(f.codec);
  if (!made) return made.status();
  *codec = std::move(made).value();
  if (!(*codec)->traits().fixed_size)
    return bad(f.codec + " makes codes that differ in length, and travels in no schedule");
  const bool is_float = call->type == DataType::kFloat32 || call->type == DataType::kFloat64 ||
                        is_narrow_float(call->type);
  const bool sums = call->op == ReduceOp::kSum || call->op == ReduceOp::kAvg;
  if (!is_float || (reduces(call->collective) && !sums))
    return bad("--codec goes with float types, and with sum and avg");
  call->codec = codec->get();
  call->codec_identity = (*codec)->identity();
  return Status::ok();
}

Machine machine_for(const Flags& f) {
  std::vector<std::string> host_per_rank;
  host_per_rank.reserve(static_cast<size_t>(f.ranks));
  for (int r = 0; r < f.ranks; ++r)
    host_per_rank.push_back(std::to_string(static_cast<int64_t>(r) * f.hosts / f.ranks));
  HostSize host = this_host();
  if (f.cores > 0) host.cores = f.cores;
  LinkSpeed speed;
  if (f.between == "verbs" || f.transport == "verbs") {
    const Limits verbs = limits_of("verbs");
    speed = {verbs.bytes_per_us, verbs.message_us, verbs.byte_us, verbs.fold_byte_us};
  }
  return machine_of(host_per_rank, host, f.transport, f.between, speed);
}

// What would carry links between hosts if all were like this one, and why.
std::string choose_between(Flags* f) {
  if (f->between != "auto") return "as asked";
  const auto verbs = find_transport("verbs")->create(TransportConfig());
  f->between = verbs ? "verbs" : "tcp";
  return verbs ? "this host has an RDMA device that is up"
               : "verbs cannot be used: " + verbs.status().message();
}

Status check_transport(const std::string& flag, const std::string& name) {
  if (find_transport(name) != nullptr && name != "sim" && name != "faulty") return Status::ok();
  return bad(fmt::format("{} wants shm, tcp, ucx, verbs or loopback, not '{}'", flag, name));
}

int explain(Flags f) {
  Result<Call> call = read_call(f);
  if (!call) return complain(call.status(), kExitUsage);
  std::shared_ptr<const Mixing> mixing;
  if (Status read = read_graph(f, &*call, &mixing); !read) return complain(read, kExitUsage);
  const std::string why = choose_between(&f);
  for (const auto& [flag, name] :
       {std::pair("--transport", f.transport), std::pair("--between", f.between)}) {
    const Status known = check_transport(flag, name);
    if (!known) return complain(known, kExitUsage);
  }
  if (Status known = check_algorithm(call->collective, f.algorithm); !known)
    return complain(known, kExitUsage);
  std::unique_ptr<Codec> codec;
  if (Status read = read_codec(f, &*call, &codec); !read) return complain(read, kExitUsage);
  const Machine machine = machine_for(f);
  call->eager_bytes = eager_bytes(f);
  const std::vector<Candidate> all = candidates(*call, machine, f.algorithm);
  const uint64_t parts = shares_of(call->collective, f.ranks);
  fmt::print(
      "{} of {} ({} {}, {}{}) among {} ranks on {} host{} with {} cores, {} inside a host\n",
      name_of(call->collective), bytes_text(call->count * parts * size_of(call->type)), call->count,
      name_of(call->type), reduces(call->collective) ? name_of(call->op) : "no reduction",
      (has_graph(call->collective) ? fmt::format(", round {} of graph {}", call->round, f.graph)
                                   : "") +
          (f.in_place ? ", in place" : "") +
          (call->codec != nullptr ? ", codec " + call->codec->name() : ""),
      f.ranks, f.hosts, f.hosts == 1 ? "" : "s", machine.cores_per_host, f.transport);
  if (f.hosts > 1) fmt::print("{} between hosts: {}\n", f.between, why);
  fmt::print("{:>10}  {:<28}{:>7}{:>14}\n", "", "algorithm", "pieces", "predicted us");
  bool chosen = false;
  for (const Candidate& c : all) {
    if (!c.why_not.empty()) {
      fmt::print("{:>10}  {:<28}{:>7}{:>14}  {}\n", "", c.algorithm->name, "-", "-", c.why_not);
      continue;
    }
    fmt::print("{:>10}  {:<28}{:>7}{:>14.2f}\n", chosen ? "" : "chosen ->", c.algorithm->name,
               c.pieces, c.predicted_us);
    chosen = true;
  }
  if (chosen) return 0;
  return complain(Status::error(Code::kUnavailable, "no algorithm accepts this call"));
}

}  // namespace

void add_explain_command(CLI::App& app, int* exit_code) {
  auto flags = std::make_shared<Flags>();
  CLI::App* command =
      app.add_subcommand("explain", "Every candidate algorithm with its predicted time");
  Flags& f = *flags;
  command->add_option("--op,--collective", f.collective, "which collective")->capture_default_str();
  command->add_option("--bytes", f.bytes, "8, 1K, 64M, 1G")->capture_default_str();
  command->add_option("--ranks", f.ranks, "number of ranks")->capture_default_str();
  command->add_option("--root", f.root, "of a collective that has one")->capture_default_str();
  command->add_option("--hosts", f.hosts, "spread over so many hosts")->capture_default_str();
  command->add_option("--cores", f.cores, "cores per host (default: this machine's)");
  command->add_option("--datatype,-d", f.type, "element type")->capture_default_str();
  command->add_option("--redop", f.op, "reduction")->capture_default_str();
  command->add_option("--transport", f.transport, "inside a host: shm, tcp, ucx or loopback")
      ->capture_default_str();
  command->add_option("--between", f.between, "between hosts: tcp, verbs, ucx, or auto as on this")
      ->capture_default_str();
  command->add_option("--algorithm", f.algorithm, "as if this one were asked for");
  command->add_option("--codec", f.codec, "messages are codes of this one: int8:block=256");
  command->add_option("--graph", f.graph, "of a neighbor collective")->capture_default_str();
  command->add_option("--round", f.round, "of the graph")->capture_default_str();
  command->add_option("--seed", f.seed, "of a random graph")->capture_default_str();
  command->add_flag("--in-place", f.in_place, "input and output are the same memory");
  command->callback([flags, exit_code] { *exit_code = explain(*flags); });
}

}  // namespace gossamer

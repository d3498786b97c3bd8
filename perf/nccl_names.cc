#include "perf/nccl_names.h"

#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstring>
#include <string_view>

#include "perf/commands.h"
#include "src/bootstrap.h"
#include "src/env.h"

namespace gossamer {
namespace {

struct Name {
  std::string_view theirs;
  const char* ours;
};
constexpr std::array kNames{
    Name{"all_reduce_perf", "all_reduce"},
    Name{"all_gather_perf", "all_gather"},
    Name{"alltoall_perf", "all_to_all"},
    Name{"broadcast_perf", "broadcast"},
    Name{"gather_perf", "gather"},
    Name{"reduce_perf", "reduce"},
    Name{"reduce_scatter_perf", "reduce_scatter"},
    Name{"scatter_perf", "scatter"},
    Name{"sendrecv_perf", "sendrecv"},
    Name{"hypercube_perf", "hypercube"},
};

enum class Kind {
  kSame,     // handed on with its value, under `ours`
  kFactor,   // of the number of ranks
  kSwitch,   // a number; not 0 means the flag `ours`, which has no value
  kIgnored,  // has a value and no effect; said, unless the value is 0 or 1, its usual ones
};
struct Flag {
  char letter;
  std::string_view word;
  Kind kind;
  const char* ours;
};
constexpr std::array kFlags{
    Flag{'t', "nthreads", Kind::kFactor, nullptr},
    Flag{'g', "ngpus", Kind::kFactor, nullptr},
    Flag{'b', "minbytes", Kind::kSame, "-b"},
    Flag{'e', "maxbytes", Kind::kSame, "-e"},
    Flag{'i', "stepbytes", Kind::kSame, "-i"},
    Flag{'f', "stepfactor", Kind::kSame, "-f"},
    Flag{'n', "iters", Kind::kSame, "-n"},
    Flag{'w', "warmup_iters", Kind::kSame, "-w"},
    Flag{'c', "check", Kind::kSame, "-c"},
    Flag{'o', "op", Kind::kSame, "-o"},
    Flag{'d', "datatype", Kind::kSame, "-d"},
    Flag{'r', "root", Kind::kSame, "-r"},
    Flag{'T', "timeout", Kind::kSame, "--timeout"},
    Flag{'R', "local_register", Kind::kSwitch, "--registered"},
    Flag{'m', "agg_iters", Kind::kIgnored, nullptr},
    Flag{'N', "run_cycles", Kind::kIgnored, nullptr},
    Flag{'p', "parallel_init", Kind::kIgnored, nullptr},
    Flag{'z', "blocking", Kind::kIgnored, nullptr},
    Flag{'y', "stream_null", Kind::kIgnored, nullptr},
    Flag{'G', "cudagraph", Kind::kIgnored, nullptr},
    Flag{'C', "report_cputime", Kind::kIgnored, nullptr},
    Flag{'S', "report_timestamps", Kind::kIgnored, nullptr},
    Flag{'a', "average", Kind::kIgnored, nullptr},
    Flag{'x', "cta_policy", Kind::kIgnored, nullptr},
    Flag{'D', "device_implementation", Kind::kIgnored, nullptr},
    Flag{'V', "device_cta_count", Kind::kIgnored, nullptr},
    Flag{'u', "unalign", Kind::kIgnored, nullptr},
};

Status bad(const std::string& message) {
  return Status::error(Code::kInvalidArgument, message);
}

// The flag that `argument` begins with, and what of its value is in the same word.
const Flag* find_flag(const std::string& argument, std::string* attached) {
  attached->clear();
  for (const Flag& flag : kFlags) {
    if (argument.size() >= 2 && argument[0] == '-' && argument[1] == flag.letter) {
      *attached = argument.substr(2);
      return &flag;
    }
    const std::string word = "--" + std::string(flag.word);
    if (argument == word) return &flag;
    if (argument.starts_with(word + "=")) {
      *attached = argument.substr(word.size() + 1);
      return &flag;
    }
  }
  return nullptr;
}

// nccl-tests' defaults, where they differ: one size, 20 operations.
struct Values {
  bool begin = false;
  bool end = false;
  bool iterations = false;
  bool warmup = false;
  bool timeout = false;
  int64_t ranks = 1;

  void note(const Flag& flag) {
    begin = begin || flag.letter == 'b';
    end = end || flag.letter == 'e';
    iterations = iterations || flag.letter == 'n';
    warmup = warmup || flag.letter == 'w';
    timeout = timeout || flag.letter == 'T';
  }
};

Status take(const Flag& flag, const std::string& value, Values* values, TranslatedCommand* made) {
  values->note(flag);
  switch (flag.kind) {
    case Kind::kSame:
      if (flag.letter == 'T' && value == "0") return Status::ok();  // their word for none
      made->arguments.insert(made->arguments.end(), {flag.ours, value});
      return Status::ok();
    case Kind::kFactor: {
      const Result<int64_t> factor = parse_int(value, 1, 1024, std::string("-") + flag.letter);
      if (!factor) return factor.status();
      values->ranks *= *factor;
      return Status::ok();
    }
    case Kind::kSwitch:
      if (value != "0") made->arguments.emplace_back(flag.ours);
      return Status::ok();
    case Kind::kIgnored:
      if (value != "0" && value != "1") {
        made->ignored.push_back(
            fmt::format("-{} {} ({}) has no effect on host memory", flag.letter, value, flag.word));
      }
      return Status::ok();
  }
  return Status::ok();
}

}  // namespace

std::string nccl_test_of(const std::string& program) {
  const std::string base = program.substr(program.find_last_of('/') + 1);
  for (const Name& name : kNames) {
    if (base == name.theirs) return name.ours;
  }
  return "";
}

Result<TranslatedCommand> translate_nccl_test(const std::string& test,
                                              const std::vector<std::string>& arguments,
                                              bool launched) {
  TranslatedCommand made;
  made.arguments = {"perf", test, "--nccl"};
  Values values;
  for (size_t i = 0; i < arguments.size(); ++i) {
    if (arguments[i] == "-h" || arguments[i] == "--help") {
      made.arguments = {"perf", "--help"};
      return made;
    }
    std::string value;
    const Flag* const flag = find_flag(arguments[i], &value);
    if (flag == nullptr) {
      return bad(fmt::format("'{}' is no flag of nccl-tests; see --help for what may be used",
                             arguments[i]));
    }
    if (value.empty() && ++i < arguments.size()) value = arguments[i];
    if (value.empty()) return bad(fmt::format("-{} needs a value", flag->letter));
    if (Status s = take(*flag, value, &values, &made); !s) return s;
  }
  const auto by_default = [&](bool given, std::initializer_list<const char*> words) {
    if (!given) made.arguments.insert(made.arguments.end(), words.begin(), words.end());
  };
  by_default(values.begin, {"-b", "32M"});
  by_default(values.end, {"-e", "32M"});
  by_default(values.iterations, {"-n", "20"});
  by_default(values.warmup, {"-w", "1"});
  if (launched && values.ranks > 1) {
    return bad(
        fmt::format("-t and -g make {} ranks per process, but each process that a launcher "
                    "starts is one rank; raise its number of processes instead",
                    values.ranks));
  }
  by_default(launched, {"--ranks"});
  if (!launched) made.arguments.push_back(std::to_string(values.ranks));
  return made;
}

int become_nccl_test(int argc, char** argv) {
  const std::string test = argc > 0 ? nccl_test_of(argv[0]) : "";
  if (test.empty()) return kNoNcclTest;
  const Result<LaunchedAs> launched = launcher_environment();
  if (!launched) return complain(launched.status(), kExitUsage);
  const std::vector<std::string> given(argv + 1, argv + argc);
  Result<TranslatedCommand> command = translate_nccl_test(test, given, launched->found);
  if (!command) return complain(command.status(), kExitUsage);
  if (!launched->found || launched->rank == 0) {
    for (const std::string& sentence : command->ignored) fmt::print("# {}\n", sentence);
    std::fflush(stdout);
  }
  std::string name = "gossamer";
  std::vector<char*> words{name.data()};
  for (std::string& argument : command->arguments) words.push_back(argument.data());
  words.push_back(nullptr);
  ::execv("/proc/self/exe", words.data());
  return complain(Status::error(
      Code::kSystem, fmt::format("cannot start again as `gossamer perf {}`: {}", test,
                                 std::strerror(errno))));  // NOLINT(concurrency-mt-unsafe)
}

}  // namespace gossamer

// The `gossamer` command. Wrong usage is one sentence and exit code 2; a failure is 1.

#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>
#include <string>

#include "perf/commands.h"
#include "perf/nccl_names.h"

// What the user typed is none of the commands; *all lists them.
static bool is_unknown(const CLI::App& app, const std::string& typed, std::string* all) {
  bool known = typed.empty() || typed.front() == '-';
  for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; })) {
    known = known || command->get_name() == typed;
    *all += (all->empty() ? "" : ", ") + command->get_name();
  }
  return !known;
}

// Returns the exit code.
static int run(int argc, char** argv) {
  int exit_code = 0;
  CLI::App app("Gossamer: collective communication that you can run, prove, price and time");
  app.name("gossamer");
  app.set_version_flag("--version", "gossamer " GOSSAMER_VERSION);
  app.require_subcommand(1);
  gossamer::add_perf_command(app, &exit_code);
  gossamer::add_verify_command(app, &exit_code);
  gossamer::add_explain_command(app, &exit_code);
  gossamer::add_doctor_command(app, &exit_code);
  gossamer::add_graph_command(app, &exit_code);
  gossamer::add_straggler_command(app, &exit_code);
  gossamer::add_gossip_demo_command(app, &exit_code);
  gossamer::add_compress_lab_command(app, &exit_code);
  gossamer::add_train_command(app, &exit_code);
  gossamer::add_step_command(app, &exit_code);
  std::string commands;
  if (is_unknown(app, argc > 1 ? argv[1] : "", &commands)) {
    std::fprintf(stderr, "gossamer: '%s' is no command; there are %s\n", argv[1], commands.c_str());
    return gossamer::kExitUsage;
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);  // --help, --version
    const auto chosen = app.get_subcommands();
    std::fprintf(stderr, "gossamer: %s; see gossamer%s%s --help\n", error.what(),
                 chosen.empty() ? "" : " ",
                 chosen.empty() ? "" : chosen.front()->get_name().c_str());
    return gossamer::kExitUsage;
  }
  return exit_code;
}

int main(int argc, char** argv) {
  try {
    if (const int code = gossamer::become_nccl_test(argc, argv); code != gossamer::kNoNcclTest) {
      return code;
    }
    return run(argc, argv);
  } catch (const std::exception& error) {  // out of memory, most likely
    std::fputs("gossamer: ", stderr);
    std::fputs(error.what(), stderr);
    std::fputs("\n", stderr);
  }
  return 1;
}

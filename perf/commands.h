// The subcommands of `gossamer`. Each add_* registers one; when the user chose it, *exit_code is
// what the process ends with.

#pragma once

#include <CLI/CLI.hpp>

#include "gossamer/status.h"

namespace gossamer {

inline constexpr int kExitFailure = 1;
inline constexpr int kExitUsage = 2;

void add_perf_command(CLI::App& app, int* exit_code);
void add_verify_command(CLI::App& app, int* exit_code);
void add_explain_command(CLI::App& app, int* exit_code);
void add_doctor_command(CLI::App& app, int* exit_code);
void add_graph_command(CLI::App& app, int* exit_code);
void add_straggler_command(CLI::App& app, int* exit_code);
void add_gossip_demo_command(CLI::App& app, int* exit_code);
void add_compress_lab_command(CLI::App& app, int* exit_code);
void add_train_command(CLI::App& app, int* exit_code);
void add_step_command(CLI::App& app, int* exit_code);

// Prints "gossamer: <sentence>" and returns `code`.
int complain(const Status& status, int code = kExitFailure);

}  // namespace gossamer

#!/usr/bin/env bash
# Runs the tests of RDMA transports, from folder BIN, in one virtual machine with four devices.
#
#   run_tests.sh BIN         what fits a few minutes: ctest calls it (RdmaVm)
#   run_tests.sh BIN --all   everything, with faults of links: `./dev test --rdma`
#
# Ends with 77, after "skipped: why", where such a machine cannot be had or the library was built
# without verbs: ctest takes that for a skipped test.
set -uo pipefail
bin=$(cd -- "$1" && pwd) || exit 2
all=0
[ "${2:-}" = --all ] && all=1
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
cd -- "$bin" || exit 2  # the folder that the machine may write to

skip() { echo "skipped: $*"; exit 77; }
[ "$(uname -m)" = x86_64 ] || skip "tests/rdma-vm needs an x86-64 machine"
why=$("$here/rdma-vm" --prepare 2>&1 </dev/null) ||
  skip "tests/rdma-vm cannot be had: $(tail -n 1 <<<"$why")"
missing=$("$bin/verbs_test" --gtest_filter='VerbsDevice.TheSuiteRuns' 2>&1 | grep -m 1 'not built')
[ -z "$missing" ] || skip "$missing"

limit=${RDMA_TIMEOUT:-$((all ? 2400 : 540))}
run() { "$here/rdma-vm" --devices 4 --timeout "$limit" "$@"; }

# One machine for all: it takes longer to boot than most of these take.
# shellcheck disable=SC2016
in_turn='
  failed=0
  for command in "$@"; do
    echo "== $command"
    begun=$SECONDS
    eval "$command"
    code=$?
    [ $code -eq 0 ] || { echo "== failed ($code): $command"; failed=1; }
    echo "== $((SECONDS - begun)) s"
  done
  exit $failed'
commands=("./verbs_test --gtest_brief=1"
  "./verbs_ports_test --gtest_brief=1 --gtest_filter='*AllReducesGoOn*:*ThatReads*'"
  "./rdma_test --gtest_brief=1 --gtest_filter='*/verbs'"
  "./neighbors_test --gtest_brief=1 --gtest_filter='*/verbs'")
if [ $all -eq 1 ]; then
  perf="GOSSAMER_IB_SPREAD=rank ./gossamer perf"
  commands=("./verbs_test --gtest_brief=1"
    "./verbs_ports_test --gtest_brief=1"
    "./registration_cache_test --gtest_brief=1"
    "./rdma_test --gtest_brief=1"
    "./killed_test --gtest_brief=1 --gtest_filter='*Verbs'"
    "./ucx_test --gtest_brief=1"
    "GOSSAMER_SOAK=1 timeout 600 ./killed_test --gtest_brief=1 --gtest_filter='*UcxOnRdma'"
    "./gossamer doctor || true"  # the machine has no /dev/shm to speak of
    "$perf all_reduce --transport verbs --ranks 2 -b 8 -e 4M -f 64 -c 1"
    "$perf all_gather --transport verbs --ranks 4 -b 8 -e 1M -f 64 -c 1")
fi
run -- bash -c "$in_turn" rdma "${commands[@]}"
code=$?
if [ $all -eq 1 ]; then
  for shape in "delay 2ms 200us loss 0.1%" "delay 20ms loss 0.01%"; do
    echo "== links with $shape"
    run --netem "$shape" -- bash -c "$in_turn" rdma \
      "./verbs_test --gtest_brief=1 --gtest_filter='*LinkThat*'" \
      "./verbs_ports_test --gtest_brief=1" \
      "./rdma_test --gtest_brief=1 --gtest_filter='*/verbs*'" || code=$?
  done
fi
exit $code

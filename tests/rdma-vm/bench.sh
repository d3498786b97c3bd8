#!/usr/bin/env bash
# All-reduce of 4 MiB among two ranks across one emulated link, in one virtual machine, in turn:
# ib_write_bw one way and both ways, our verbs, our tcp. Prints each round and the medians.
#
#   bench.sh GOSSAMER [ROUNDS]     GOSSAMER is the command, such as build/release/bin/gossamer
#
# In bytes per second and direction, 10^6. An all-reduce of two ranks sends as much each way as
# the buffer has bytes, so its bus bandwidth compares with what one direction carries; the two
# directions share the emulated processors, as the last column of the first line tells. tcp
# crosses the same bridge between two network namespaces.
set -euo pipefail
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
gossamer=$(readlink -f -- "$1")
rounds=${2:-3}

if [ -z "${RDMA_VM:-}" ]; then
  cd -- "$(dirname -- "$gossamer")"
  exec "$here/rdma-vm" --netns --timeout 600 -- \
    bash "$here/$(basename -- "$0")" "$gossamer" "$rounds"
fi

bytes=4194304
results=$(mktemp)
# write_bw NAME [OPTIONS]: a round of ib_write_bw, whose "MB" are of 2^20 bytes
write_bw() {
  local name=$1
  shift
  timeout 60 ib_write_bw -d rxe0 -x 1 -F -s $bytes -n 60 "$@" >/dev/null 2>&1 &
  local server=$! value
  sleep 1
  value=$(timeout 50 ib_write_bw -d rxe1 -x 1 -F -s $bytes -n 60 "$@" 10.77.0.1 2>/dev/null |
    awk -v b=$bytes '$1 == b { print $4 * 1.048576 }')
  wait $server || true
  echo "$name ${value:-0}" | tee -a "$results"
}
# all_reduce NAME: the times of `gossamer perf`, from its standard input
all_reduce() {
  awk -v b=$bytes -v n="$1" '$1 == b { print n "_out", b / $6; print n "_in", b / $11 }' |
    tee -a "$results"
}
flags=(-b 4M -e 4M --seconds 2 -c 1)
over_verbs() {
  GOSSAMER_IB_SPREAD=rank "$gossamer" perf all_reduce --ranks 2 --transport verbs "${flags[@]}" |
    all_reduce verbs
}
over_tcp() {
  local rank
  for rank in 1 0; do
    RANK=$rank WORLD_SIZE=2 LOCAL_RANK=0 LOCAL_WORLD_SIZE=1 MASTER_ADDR=10.78.0.1 \
      MASTER_PORT=29511 GOSSAMER_SOCKET_IFNAME=eth0 timeout 60 ip netns exec node$rank \
      "$gossamer" perf all_reduce --transport tcp "${flags[@]}" &
  done | all_reduce tcp
  wait
}
for ((round = 0; round < rounds; ++round)); do
  write_bw write_bw
  over_verbs
  write_bw write_bw_both -b
  over_tcp
done
echo
sort -k1,1 -k2,2n "$results" | awk '
  { values[$1] = values[$1] " " $2; count[$1]++ }
  END {
    for (name in values) {
      split(values[name], v, " ")
      median[name] = v[int((count[name] + 1) / 2)]
    }
    one = median["write_bw"]
    both = median["write_bw_both"]
    printf "ib_write_bw %.1f MB/s one way, %.1f both ways together\n", one, both
    for (i = split("verbs_out verbs_in tcp_out tcp_in", names, " "); i > 0; --i) {
      m = median[names[i]]
      printf "%-10s busbw %6.1f MB/s = %3.0f %% of one way, %3.0f %% of half of both ways\n",
        names[i], m, one ? 100 * m / one : 0, both ? 200 * m / both : 0
    }
  }'
rm -f "$results"

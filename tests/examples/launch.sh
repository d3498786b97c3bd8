#!/bin/sh
# Starts a program as several ranks, as a launcher does: launch.sh RANKS PROGRAM.
# Fails when one of them does.
ranks=$1
program=$2
folder=$(mktemp -d) || exit 1
trap 'rm -rf "$folder"' EXIT
pids=
rank=0
while [ "$rank" -lt "$ranks" ]; do
  GOSSAMER_RANK=$rank GOSSAMER_SIZE=$ranks GOSSAMER_RENDEZVOUS=file://$folder/id "$program" &
  pids="$pids $!"
  rank=$((rank + 1))
done
failed=0
for pid in $pids; do
  wait "$pid" || failed=1
done
exit $failed

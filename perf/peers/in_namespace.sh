#!/usr/bin/env bash
# Stands in for ssh: in_namespace.sh [options] ADDRESS COMMAND... runs COMMAND in the network
# namespace gossamer<n> that owns ADDRESS 10.213.77.<n + 1>, under a host name of its own, so that
# launchers count it as a separate host.
while [ $# -gt 0 ]; do
  case $1 in
    -*) shift ;;
    *) break ;;
  esac
done
name=gossamer$((${1##*.} - 1))
shift
# shellcheck disable=SC2016  # expanded by the inner shell
exec ip netns exec "$name" unshare --uts bash -c 'hostname "$0"; eval "$1"' "$name" "$*"

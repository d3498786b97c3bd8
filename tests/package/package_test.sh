#!/usr/bin/env bash
# package_test.sh BUILD LIBDIR: installs a build into a folder of its own, moves it, and builds and
# runs users of it: with find_package (shared and static), with pkg-config, and from C99.
set -euo pipefail
build=$1 libdir=$2
here=$(dirname "$(readlink -f "$0")")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cmake --install "$build" --prefix "$work/first" >/dev/null
mv "$work/first" "$work/prefix"  # nothing installed may remember where it was put
prefix=$work/prefix
if grep -rIlF "$work/first" "$prefix"; then
  echo "these installed files name the folder they were installed into" >&2
  exit 1
fi
for header in "$prefix"/include/gossamer/*.h; do
  [ -f "$here/../../include/gossamer/$(basename "$header")" ]
done

echo "== find_package"
cmake -S "$here" -B "$work/user" -DCMAKE_PREFIX_PATH="$prefix" >"$work/log" 2>&1 &&
  cmake --build "$work/user" >>"$work/log" 2>&1 || { cat "$work/log"; exit 1; }
for user in user user_static user_c user_nccl; do
  "$work/user/$user"
done

echo "== pkg-config"
export PKG_CONFIG_PATH=$prefix/$libdir/pkgconfig
# shellcheck disable=SC2046  # flags are words
"${CXX:-c++}" -std=c++20 "$here/user.cc" -o "$work/user_pc" \
  $(pkg-config --cflags --libs gossamer) "-Wl,-rpath,$prefix/$libdir"
"$work/user_pc"
# shellcheck disable=SC2046
"${CC:-cc}" -std=c99 -Wall -Wextra -pedantic-errors -Werror "$here/user.c" -o "$work/user_c_pc" \
  $(pkg-config --cflags --libs gossamer) "-Wl,-rpath,$prefix/$libdir"
"$work/user_c_pc"

# shellcheck disable=SC2046
"${CC:-cc}" -std=c99 -Wall -Wextra -pedantic-errors -Werror "$here/user_nccl.c" \
  -o "$work/user_nccl_pc" $(pkg-config --cflags --libs gossamer-nccl) \
  "-Wl,-rpath,$prefix/$libdir/gossamer/nccl/lib"
"$work/user_nccl_pc"

echo "== libnccl.so.2 shadows nobody's by accident"
[ -f "$prefix/$libdir/gossamer/nccl/include/nccl.h" ]
if ls "$prefix/$libdir" "$prefix/include" "$prefix/include/gossamer" | grep nccl; then
  echo "these are where programs find them without asking" >&2
  exit 1
fi

if [ -x "$prefix/bin/gossamer" ]; then
  echo "== command"
  "$prefix/bin/gossamer" --version
  "$prefix/bin/all_reduce_perf" -b 8 -e 8 -g 2 | grep -q "Out of bounds values : 0 OK"
fi

echo "== what the shared library shows"
# everything it exports is ours: no symbol of what it is built from
foreign=$(nm -DC --defined-only "$prefix/$libdir/libgossamer.so" | cut -d' ' -f3- |
  grep -E '^(hwy|fmt|hwloc|OPENSSL|EVP)' || true)
if [ -n "$foreign" ]; then
  echo "$foreign" | head >&2
  exit 1
fi

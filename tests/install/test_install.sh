#!/usr/bin/env bash
# An installed tree, moved to another place, is found by CMake and by pkg-config, and what is linked with it computes what it should.
# usage: test_install.sh CMAKE BUILD_DIR CXX MPIEXEC CC
set -euo pipefail
cmake=$1 build=$2 compiler=$3 c_compiler=$5
mpirun=("$4" --oversubscribe --bind-to none -n 2)
source=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

work=$build/test_install
rm -rf "$work"
mkdir -p "$work"
"$cmake" --install "$build" --prefix "$work/before" > "$work/install.log"
mv "$work/before" "$work/gyre"

echo "-- the tree"
cd "$work/gyre"
ls bin/gyre include/gyre/runtime/attention.hpp include/gyre.h share/doc/gyre/LICENSE
bin/gyre --version
if grep --recursive --fixed-strings --binary-files=without-match -e "$work/before" -e "$build" include lib* share; then
  echo "these paths are of the machine that built it"
  exit 1
fi

echo "-- find_package"
mkdir "$work/consumer"
cp "$source/consumer_CMakeLists.txt" "$work/consumer/CMakeLists.txt"
cp "$source"/consumer*pp "$work/consumer"
"$cmake" -S "$work/consumer" -B "$work/consumer/build" -G Ninja -DCMAKE_PREFIX_PATH="$work/gyre" -DCMAKE_CXX_COMPILER="$compiler" \
  -DCMAKE_CXX_FLAGS="-Wall -Wextra -Werror" > "$work/configure.log"
"$cmake" --build "$work/consumer/build" -j 2 > "$work/build.log" || { cat "$work/build.log"; exit 1; }
"$work/consumer/build/consumer"
"${mpirun[@]}" "$work/consumer/build/consumer_mpi"

echo "-- pkg-config"
PKG_CONFIG_PATH=$(dirname "$(find "$work/gyre" -name gyre.pc)")
export PKG_CONFIG_PATH
for static in "" --static; do
  # shellcheck disable=SC2046,SC2086
  "$compiler" -std=c++20 "$source/consumer.cpp" $(pkg-config $static --cflags --libs gyre) -o "$work/by_pkg_config$static"
  LD_LIBRARY_PATH=$(dirname "$PKG_CONFIG_PATH") "$work/by_pkg_config$static"
done

echo "-- from C"
mkdir "$work/consumer_c"
cp "$source/consumer_c_CMakeLists.txt" "$work/consumer_c/CMakeLists.txt"
cp "$source/consumer.c" "$work/consumer_c"
"$cmake" -S "$work/consumer_c" -B "$work/consumer_c/build" -G Ninja -DCMAKE_PREFIX_PATH="$work/gyre" -DCMAKE_C_COMPILER="$c_compiler" \
  -DCMAKE_C_FLAGS="-Wall -Wextra -Werror -pedantic" > "$work/configure_c.log"
"$cmake" --build "$work/consumer_c/build" > "$work/build_c.log" || { cat "$work/build_c.log"; exit 1; }
"$work/consumer_c/build/consumer"
# shellcheck disable=SC2046
"$c_compiler" -std=c99 -pedantic-errors "$source/consumer.c" $(pkg-config --cflags --libs gyre_c) -o "$work/c_by_pkg_config"
LD_LIBRARY_PATH=$(dirname "$PKG_CONFIG_PATH") "$work/c_by_pkg_config"

#!/usr/bin/env bash
# run.sh BUILD: installs the Release build into a temporary prefix and uses it as a stranger would: both examples by the CMake package and by pkg-config, shared and
# static, a C++20 program (program.cpp) on mote.hpp, and the symbols and dependencies of the libraries. Ends with "N passed, N failed".
BUILD=$(realpath "${1:?usage: run.sh BUILD_FOLDER}")
MOTE="$BUILD/tools/mote"
. "$(dirname "$0")/../tools/lib.sh"
PREFIX=$WORK/prefix
expect test_install 0 cmake --install "$BUILD" --prefix "$PREFIX"
LIB=$(dirname "$(find "$PREFIX" -name 'libmote.so' | head -n 1)")
export PKG_CONFIG_PATH=$LIB/pkgconfig LD_LIBRARY_PATH=$LIB
# The prefix of this test is not the one that was configured.
sed -i "s|^prefix=.*|prefix=$PREFIX|" "$LIB/pkgconfig/mote.pc"

for file in include/mote.h include/mote.hpp bin/mote bin/mkfs.mote bin/fsck.mote libexec/mote-bench share/man/man1/mote.1; do
    if [ -e "$PREFIX/$file" ]; then pass; else fail test_install_brings_"$file"; fi
done
expect test_installed_mote_runs 0 "$PREFIX/bin/mote" --version
expect test_installed_mote_finds_its_benchmark 0 "$PREFIX/bin/mote" bench --list
says test_shared_library_has_its_soname <(readelf -d "$LIB/libmote.so") 'soname: [libmote.so.0]'
nm -D --defined-only "$LIB/libmote.so" | awk '$2 != "A" {print $3}' | sed 's/@.*//' | grep -v '^mote_' >leaks
equal test_shared_library_exports_only_mote "$(tr '\n' ' ' <leaks)" ""
nm -g --defined-only "$LIB/libmote.a" 2>/dev/null | awk 'NF == 3 {print $3}' | grep -v '^mote_' >leaks
equal test_static_library_exports_only_mote "$(tr '\n' ' ' <leaks)" ""
nm -D --defined-only "$LIB/libmote.so" | awk '{print $3}' | sed 's/@.*//' | grep '^mote_' | sort -u >exported
grep -o 'MOTE_API[^;]*' "$PREFIX/include/mote.h" | grep -o 'mote_[a-z_]*(' | tr -d '(' | sort -u >declared
same test_shared_library_exports_what_the_header_declares declared exported
if readelf -d "$LIB/libmote.so" | grep -q jemalloc; then fail test_shared_library_does_not_link_jemalloc; else pass; fi
if readelf -d "$PREFIX/bin/mote" | grep -q jemalloc; then pass; else fail test_command_links_jemalloc; fi

# use NAME LOGGER READER CONTROL_LOOP FINDER: the examples on a fresh volume.
use() {
    rm -f example.img
    "$PREFIX/bin/mote" format --quiet --sparse --size 64M example.img
    expect "test_logger_$1_runs" 0 "$2" example.img
    says "test_logger_$1_is_durable" out '10000 rows durable'
    expect "test_reader_$1_runs" 0 "$3" example.img
    says "test_reader_$1_reads_the_second" out '1000 rows in the third second'
    says "test_reader_$1_reads_the_row" out 'q1 at 2.5 s: 0.598472'
    expect "test_control_loop_$1_runs" 0 "$4" example.img
    says "test_control_loop_$1_loses_nothing" out '5000 cycles durable, 0 dropped'
    rm -f seen.img
    expect "test_finder_$1_runs" 0 "$5" seen.img
    says "test_finder_$1_finds_the_cup" out '45.50 s  (2.00, 0.11, 0.00)  a red cup on the table  distance 0.001'
}
for kind in shared static; do
    expect "test_cmake_package_${kind}_configures" 0 cmake -G Ninja -S "$ROOT/examples" -B "cmake-$kind" -DCMAKE_PREFIX_PATH="$PREFIX" \
        -DMOTE_EXAMPLES_STATIC=$([ $kind = static ] && echo ON || echo OFF)
    expect "test_cmake_package_${kind}_builds" 0 cmake --build "cmake-$kind"
    use "cmake_$kind" "cmake-$kind/logger" "cmake-$kind/reader" "cmake-$kind/control_loop" "cmake-$kind/finder"
done
mkdir pkg-shared pkg-static
for name in logger reader control_loop finder; do
    # shellcheck disable=SC2046
    expect "test_pkg_config_shared_builds_$name" 0 cc -o pkg-shared/$name "$ROOT/examples/$name.c" $(pkg-config --cflags --libs mote) -lm
    # shellcheck disable=SC2046
    expect "test_pkg_config_static_builds_$name" 0 cc -o pkg-static/$name "$ROOT/examples/$name.c" $(pkg-config --cflags mote) "$LIB/libmote.a" \
        $(pkg-config --static --libs mote | sed 's/-lmote//')
done
use pkg_config_shared pkg-shared/logger pkg-shared/reader pkg-shared/control_loop pkg-shared/finder
use pkg_config_static pkg-static/logger pkg-static/reader pkg-static/control_loop pkg-static/finder
if readelf -d pkg-static/logger | grep -q libmote; then fail test_static_example_needs_no_libmote; else pass; fi

# shellcheck disable=SC2046
expect test_cpp_header_compiles 0 g++ -std=c++20 -Wall -Wextra -Werror -o program "$ROOT/tests/install/program.cpp" $(pkg-config --cflags --libs mote)
expect test_cpp_program_runs 0 ./program
says test_cpp_program_reads_what_it_wrote out '9 rows, sum 19, 5 nulls'
finish

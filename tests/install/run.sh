#!/usr/bin/env bash
# run.sh BUILD: installs the Release build into a temporary prefix and uses it as a stranger would: both examples by the CMake package and by pkg-config, shared and
# static, a C++20 program on mote.hpp, and the symbols and dependencies of the libraries. Ends with "N passed, N failed".
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

cat >program.cpp <<'CPP'
#include <iostream>
#include <mote.hpp>
struct sample {
    std::int64_t time_ns;
    double q1;
};
/* A snapshot, a batch, a transaction, a conflict. */
static int change(mote::database &db, mote::table &joints)
{
    const mote::snapshot before = db.take_snapshot("before");
    mote::write batch = db.begin_write();
    batch.put(joints, {mote::timestamp(5000), 1.0, nullptr});
    batch.erase(joints, {mote::timestamp(9)});
    batch.commit();
    mote::transaction change = db.begin_transaction();
    change.put(joints, {mote::timestamp(5000), change.get(joints, {mote::timestamp(5000)})->f64(1) + 1, nullptr});
    const std::uint64_t point = change.savepoint();
    change.erase(joints, {mote::timestamp(5000)});
    if (change.count(joints) + 1 != joints.count() || change.search(joints, {}).count() != change.count(joints))
        return 24;
    for (const mote::chunk &chunk : change.latest(joints, {.columns = {"time"}}))
        if (chunk.row_count() != 1 || chunk.column<std::int64_t>(0)[0] >= 5000)
            return 25;
    change.rollback_to(point);
    change.commit();
    if (!joints.get({mote::timestamp(9)}, before.c()) || joints.get({mote::timestamp(9)}) || joints.get({mote::timestamp(5000)})->f64(1) != 2.0)
        return 20;
    try {
        mote::transaction late = db.begin_transaction();
        late.put(joints, {mote::timestamp(5000), 7.0, nullptr});
        joints.erase({mote::timestamp(5000)});
        late.commit();
        return 21;
    } catch (const mote::error &conflict) {
        if (conflict.code() != MOTE_ECONFLICT)
            return 22;
    }
    joints.append({mote::timestamp(9), 4.5, "odd"});
    if (joints.count({.at = db.open_snapshot("before").c()}) != joints.count())
        return 23;
    db.drop_snapshot("before");
    return 0;
}
int main()
{
    mote::format("cpp.img", {.image_size_bytes = 64u << 20, .sparse = true});
    try {
        mote::format("cpp.img");
        return 1;
    } catch (const mote::error &refused) {
        if (refused.code() != MOTE_EFOREIGN)
            return 2;
    }
    {
        mote::database db("cpp.img");
        mote::table joints = db.create_table({.name = "joints",
                                              .columns = {{"time", MOTE_TYPE_TIMESTAMP}, {"q1", MOTE_TYPE_FLOAT64}, {"note", MOTE_TYPE_TEXT}},
                                              .key = {"time"},
                                              .time = "time"});
        std::uint64_t ticket = 0;
        for (int i = 0; i < 1000; i++)
            ticket = joints.append({mote::timestamp(i), i * 0.5, i % 2 ? mote::value("odd") : mote::value(nullptr)});
        db.wait(ticket);
        joints.erase({mote::timestamp(7)});
        try {
            joints.insert({mote::timestamp(8), 1.0, nullptr});
            return 3;
        } catch (const mote::error &exists) {
            if (exists.code() != MOTE_EEXISTS)
                return 4;
        }
        db.close();
    }
    mote::database db("cpp.img");
    mote::table joints = db.open_table("joints");
    double sum = 0;
    std::size_t rows = 0, nulls = 0;
    for (const mote::chunk &chunk : joints.scan({.columns = {"q1", "note"}, .time_from_ns = 0, .time_to_ns = 9})) {
        for (double q : chunk.column<double>(0))
            sum += q;
        for (std::size_t row = 0; row < chunk.row_count(); row++)
            nulls += chunk.is_null(1, row);
        rows += chunk.row_count();
    }
    const auto found = joints.get({mote::timestamp(9)});
    if (joints.get({mote::timestamp(7)}) || !found || found->f64(1) != 4.5 || found->text(2) != "odd")
        return 5;
    {
        mote::producer<sample> producer(joints, {.ring_records = 100, .name = "loop"});
        for (int i = 0; i < 50; i++)
            if (producer.push({2000 + i, i * 1.0}) != MOTE_OK)
                return 6;
        producer.flush();
        if (producer.stats().durable != 50)
            return 7;
        producer.close();
    }
    if (joints.count({.time_from_ns = 0, .time_to_ns = 99}) != 99) /* 100 but for the one erased */
        return 11;
    std::size_t buckets = 0;
    for (const mote::chunk &chunk : joints.aggregate({{"", MOTE_AGGREGATE_COUNT}, {"q1", MOTE_AGGREGATE_MAX}, {"note", MOTE_AGGREGATE_COUNT}}, {.time_to_ns = 999, .bucket_ns = 100}))
        for (std::size_t row = 0; row < chunk.row_count(); row++, buckets++)
            if (chunk.column<std::int64_t>(0)[row] != (std::int64_t)buckets * 100 || chunk.column<std::int64_t>(1)[row] != (buckets ? 100 : 99) ||
                chunk.column<double>(2)[row] != (double)buckets * 50 + 49.5 || chunk.column<std::int64_t>(3)[row] != (buckets ? 50 : 49))
                return 12;
    if (buckets != 10)
        return 13;
    for (const mote::chunk &chunk : joints.latest({.columns = {"time"}}))
        if (chunk.row_count() != 1 || chunk.column<std::int64_t>(0)[0] != 2049)
            return 14;
    if (const int failed = change(db, joints))
        return failed;
    joints.create_index({.name = "by_q1", .kind = MOTE_INDEX_COLUMN, .columns = {"q1"}, .strategy = MOTE_INDEX_REALTIME});
    mote::hits hits = joints.search({.terms = {{.kind = MOTE_TERM_RANGE, .columns = {"q1"}, .from = 100.0, .to = 200.0}, {.kind = MOTE_TERM_EQUAL, .columns = {"note"}, .from = "odd"}},
                                     .rank_by = 1, .columns = {"q1"}, .time_to_ns = 999, .limit = 10});
    const mote::chunk *first = hits.next();
    if (hits.count() != 10 || !first || first->row_count() != 10 || first->column<double>(0)[0] != 100.5 || first->column<double>(0)[9] != 109.5 || hits.explain().find("by_q1") == std::string::npos || hits.next())
        return 15;
    joints.drop_index("by_q1");
    const auto pushed = joints.get({mote::timestamp(2049)});
    if (!pushed || pushed->f64(1) != 49)
        return 8;
    try {
        mote::producer<int> wrong(joints);
        return 9;
    } catch (const mote::error &size) {
        if (size.code() != MOTE_EINVAL)
            return 10;
    }
    std::cout << rows << " rows, sum " << sum << ", " << nulls << " nulls\n";
}
CPP
# shellcheck disable=SC2046
expect test_cpp_header_compiles 0 g++ -std=c++20 -Wall -Wextra -Werror -o program program.cpp $(pkg-config --cflags --libs mote)
expect test_cpp_program_runs 0 ./program
says test_cpp_program_reads_what_it_wrote out '9 rows, sum 19, 5 nulls'
finish

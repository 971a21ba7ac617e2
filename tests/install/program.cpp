/* program.cpp: every class and call of mote.hpp as a stranger's program uses it, for tests/install/run.sh; on image files in the working folder. Ends with what it read, or at the first thing that is not so. */
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <iostream>
#include <mote.hpp>

#define require(condition)                                                                                             \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            std::cerr << __FILE__ << ":" << __LINE__ << ": " << #condition << "\n";                                    \
            std::exit(1);                                                                                              \
        }                                                                                                              \
    } while (0)

/* The code of what a call throws; MOTE_OK: nothing. */
template <typename Call> static int thrown(Call call)
{
    try {
        call();
        return MOTE_OK;
    } catch (const mote::error &error) {
        require(error.context().code == error.code() && std::strlen(error.what()) > 0 && std::string(error.name()) == mote_error_name(error.code()));
        return error.code();
    }
}

struct sample {
    std::int64_t time_ns;
    double q1;
};

static mote::timestamp at(std::int64_t ns) { return mote::timestamp(ns); }

static std::uint64_t rows_of(mote::cursor cursor)
{
    std::uint64_t rows = 0;
    while (const mote::chunk *chunk = cursor.next())
        rows += chunk->row_count();
    return rows;
}

/* ---- One table ---- */

static void write_rows()
{
    mote::database db("cpp.img");
    mote::table joints = db.create_table({.name = "joints",
                                          .columns = {{"time", MOTE_TYPE_TIMESTAMP}, {"q1", MOTE_TYPE_FLOAT64}, {"note", MOTE_TYPE_TEXT}},
                                          .key = {"time"},
                                          .time = "time"});
    require(thrown([&] { db.create_table({.name = "none", .columns = {{"time", MOTE_TYPE_TIMESTAMP}}, .key = {"tim"}}); }) == MOTE_ENOCOLUMN);
    std::uint64_t ticket = 0;
    for (int i = 0; i < 1000; i++)
        ticket = joints.append({at(i), i * 0.5, i % 2 ? mote::value("odd") : mote::value(nullptr)});
    while (!db.wait_for(ticket, 1000000)) {
    }
    db.wait(ticket);
    require(db.durable_seq() >= ticket && db.visible_seq() >= ticket);
    joints.erase({at(7)});
    require(thrown([&] { joints.insert({at(8), 1.0, nullptr}); }) == MOTE_EEXISTS);
    db.close();
}

static void read_rows(mote::table &joints)
{
    const auto found = joints.get({at(9)});
    require(!joints.get({at(7)}) && found && found->f64(1) == 4.5 && found->text(2) == "odd");
    require(found->i64(0) == 9 && !found->is_null(2) && found->seq() > 0 && found->c());
    const auto many = joints.get_many({{at(10)}, {at(7)}, {at(12)}});
    require(many.size() == 3 && many[0] && many[0]->is_null(2) && !many[1] && many[2]->f64(1) == 6);
    require(joints.find_column("note") == 2 && joints.describe().column_count == 3 && joints.c());
    require(joints.count({.time_from_ns = 0, .time_to_ns = 99}) == 99); /* 100 but for the one erased */
    require(rows_of(joints.scan({.key_from = {at(10)}, .key_to = {at(19)}, .descending = true, .limit = 7, .chunk_rows = 2})) == 7);
    for (const mote::chunk &chunk : joints.scan({.key_prefix = {at(9)}}))
        require(chunk.row_count() == 1 && chunk.column_count() == 3 && chunk.text(2, 0) == "odd" && chunk.c().row_count == 1);
    std::int64_t buckets = 0;
    for (const mote::chunk &chunk : joints.aggregate({{"", MOTE_AGGREGATE_COUNT}, {"q1", MOTE_AGGREGATE_MAX}, {"note", MOTE_AGGREGATE_COUNT}}, {.time_to_ns = 999, .bucket_ns = 100}))
        for (std::size_t row = 0; row < chunk.row_count(); row++, buckets++)
            require(chunk.column<std::int64_t>(0)[row] == buckets * 100 && chunk.column<std::int64_t>(1)[row] == (buckets ? 100 : 99) &&
                    chunk.column<double>(2)[row] == (double)buckets * 50 + 49.5 && chunk.column<std::int64_t>(3)[row] == (buckets ? 50 : 49));
    require(buckets == 10);
}

static void push_rows(mote::table &joints)
{
    mote::producer<sample> producer(joints, {.ring_records = 100, .name = "loop"});
    for (int i = 0; i < 50; i++)
        require(producer.push({2000 + i, i * 1.0}) == MOTE_OK);
    producer.flush();
    require(producer.stats().durable == 50 && producer.c());
    producer.close();
    for (const mote::chunk &chunk : joints.latest({.columns = {"time"}}))
        require(chunk.row_count() == 1 && chunk.column<std::int64_t>(0)[0] == 2049);
    const auto pushed = joints.get({at(2049)});
    require(pushed && pushed->f64(1) == 49);
    require(thrown([&] { mote::producer<int> wrong(joints); }) == MOTE_EINVAL);
}

static void append_batches(mote::database &db, mote::table &joints)
{
    const std::int64_t times[] = {3000, 3001, 3002};
    const double angles[] = {1, 2, 3};
    const mote_column columns[] = {{MOTE_TYPE_TIMESTAMP, 0, times, nullptr, nullptr}, {MOTE_TYPE_FLOAT64, 0, angles, nullptr, nullptr}};
    const std::uint32_t positions[] = {0, 1};
    const mote_batch batch{3, 2, columns, positions};
    const std::vector<mote::value> row = {at(3003), 4.0, "span"};
    joints.append(batch);
    joints.append(row, MOTE_DURABILITY_SYNC);
    require(joints.count({.time_from_ns = 3000}) == 4);
    mote::write write = db.begin_write();
    write.put(joints, {at(3004), 5.0, nullptr});
    write.clear();
    write.erase(joints, {at(3003)});
    write.erase(joints, {at(3000)});
    write.insert(joints, {at(3000), 6.0, nullptr});
    require(write.rows() == 3 && write.c());
    db.wait(write.commit());
    mote::transaction transaction = db.begin_transaction();
    transaction.put(joints, batch);
    transaction.insert(joints, {at(3005), 5.0, nullptr});
    require(rows_of(transaction.scan(joints, {.time_from_ns = 3000})) == 4 && transaction.c());
    require(joints.count({.time_from_ns = 3000, .at = transaction.snapshot()}) == 3);
    mote::aggregation sums = transaction.aggregate(joints, {{"q1", MOTE_AGGREGATE_SUM}}, {.time_from_ns = 3000});
    const mote::chunk *sum = sums.next();
    require(sum && sum->column<double>(0)[0] == 11 && sums.c());
    transaction.commit(MOTE_DURABILITY_SYNC);
    write.put(joints, batch);
    write.commit();
    for (std::int64_t time : {3000, 3001, 3002, 3005})
        joints.erase({at(time)});
}

/* A snapshot, a batch, a transaction, a conflict. */
static void change(mote::database &db, mote::table &joints)
{
    const mote::snapshot before = db.take_snapshot("before"), unnamed = db.take_snapshot();
    require(before.seq() <= unnamed.seq());
    mote::write batch = db.begin_write();
    batch.put(joints, {at(5000), 1.0, nullptr});
    batch.erase(joints, {at(9)});
    batch.commit();
    mote::transaction change = db.begin_transaction();
    change.put(joints, {at(5000), change.get(joints, {at(5000)})->f64(1) + 1, nullptr});
    const std::uint64_t point = change.savepoint();
    change.erase(joints, {at(5000)});
    require(change.count(joints) + 1 == joints.count() && change.search(joints, {}).count() == change.count(joints) && !change.get(joints, {at(5000)}));
    for (const mote::chunk &chunk : change.latest(joints, {.columns = {"time"}}))
        require(chunk.row_count() == 1 && chunk.column<std::int64_t>(0)[0] < 5000);
    change.rollback_to(point);
    change.commit();
    require(joints.get({at(9)}, before.c()) && !joints.get({at(9)}) && joints.get({at(5000)})->f64(1) == 2.0);
    require(thrown([&] {
                mote::transaction late = db.begin_transaction();
                late.put(joints, {at(5000), 7.0, nullptr});
                joints.erase({at(5000)});
                late.commit();
            }) == MOTE_ECONFLICT);
    joints.append({at(9), 4.5, "odd"});
    require(joints.count({.at = db.open_snapshot("before").c()}) == joints.count());
    db.drop_snapshot("before");
    require(thrown([&] { db.open_snapshot("before"); }) == MOTE_ENOTFOUND);
}

static void search(mote::table &joints)
{
    joints.create_index({.name = "by_q1", .kind = MOTE_INDEX_COLUMN, .columns = {"q1"}, .strategy = MOTE_INDEX_REALTIME});
    mote::hits hits = joints.search({.terms = {{.kind = MOTE_TERM_RANGE, .columns = {"q1"}, .from = 100.0, .to = 200.0}, {.kind = MOTE_TERM_EQUAL, .columns = {"note"}, .from = "odd"}},
                                     .rank_by = 1, .columns = {"q1"}, .time_to_ns = 999, .limit = 10});
    const mote::chunk *first = hits.next();
    require(hits.count() == 10 && first && first->row_count() == 10 && first->column<double>(0)[0] == 100.5 && first->column<double>(0)[9] == 109.5);
    require(hits.scores().size() == 10 && hits.explain().find("by_q1") != std::string::npos && hits.c() && !hits.next());
    joints.rebuild_index("by_q1");
    require(joints.describe_index("by_q1").kind == MOTE_INDEX_COLUMN);
    joints.drop_index("by_q1");
    require(thrown([&] { joints.describe_index("by_q1"); }) == MOTE_ENOTFOUND);
}

/* ---- Other types, large values, retention ---- */

static void use_types(mote::database &db)
{
    mote::table types = db.create_table({.name = "types",
                                         .columns = {{"i", MOTE_TYPE_INT32}, {"f", MOTE_TYPE_FLOAT32}, {"b", MOTE_TYPE_BOOL}, {"bytes", MOTE_TYPE_BLOB}, {"v", MOTE_TYPE_VECTOR_F32, 2}, {"p", MOTE_TYPE_POINT3},
                                                     {"d", MOTE_TYPE_INT64, 0, 0, mote::value(std::int64_t(17))}}});
    const std::array<std::byte, 2> bytes{std::byte{1}, std::byte{2}};
    const std::array<float, 2> vector{0.5f, 1.5f};
    types.append({std::int32_t(3), 2.5f, true, std::span<const std::byte>(bytes), std::span<const float>(vector), std::array<double, 3>{1, 2, 3}, nullptr});
    types.append({nullptr, nullptr, nullptr, nullptr, nullptr, nullptr});
    for (const mote::chunk &chunk : types.scan({.columns = {"i", "f", "b", "bytes", "v", "p", "d"}}))
        require(chunk.row_count() == 2 && chunk.column<std::int32_t>(0)[0] == 3 && chunk.column<float>(1)[0] == 2.5f && chunk.column<std::uint8_t>(2)[0] == 1 && chunk.text(3, 0) == "\1\2" &&
                chunk.column<float>(4)[1 - 1] == 0.5f && chunk.column<double>(5)[0] == 1 && chunk.is_null(6, 0) && chunk.is_null(0, 1) && chunk.column<std::int64_t>(6)[1] == 17);
    db.drop_table("types");
    require(thrown([&] { db.open_table("types"); }) == MOTE_ENOTABLE && thrown([&] { types.count(); }) == MOTE_ENOTABLE);
}

static void use_large_values(mote::database &db)
{
    mote::table frames = db.create_table({.name = "frames", .columns = {{"id", MOTE_TYPE_INT64}, {"frame", MOTE_TYPE_BLOB, 0, MOTE_COLUMN_LARGE}}, .key = {"id"}});
    std::vector<std::byte> piece(100000, std::byte{7}), read(250000);
    mote::blob_writer writer = frames.write_blob(200000);
    writer.write(piece);
    writer.write(piece);
    frames.append({std::int64_t(1), writer.finish()}, MOTE_DURABILITY_SYNC);
    mote::blob_reader reader = frames.read_blob({std::int64_t(1)}, 1);
    require(reader.size() == 200000 && reader.read(50000, read) == 150000 && std::all_of(read.begin(), read.begin() + 150000, [](std::byte b) { return b == std::byte{7}; }));
    require(thrown([&] { frames.read_blob({std::int64_t(2)}, 1); }) == MOTE_ENOTFOUND);
}

static void use_retention(mote::database &db, mote::table &joints)
{
    mote_retention retention = MOTE_RETENTION_INIT;
    retention.recycle = 1;
    retention.bytes_max = 32 << 20;
    joints.set_retention(retention);
    require(joints.retention().recycle == 1 && joints.retention().bytes_max == 32 << 20);
    joints.pin("incident", 100, 200);
    require(joints.describe_retention().pin_count == 1);
    joints.unpin("incident");
    require(thrown([&] { joints.unpin("incident"); }) == MOTE_ENOTFOUND);
    db.checkpoint();
    joints.set_retention(MOTE_RETENTION_INIT);
}

/* ---- The volume ---- */

static void copy_and_grow()
{
    std::vector<std::byte> stream;
    mote_options options = mote::default_options();
    options.trim = MOTE_TRIM_ON;
    std::filesystem::remove("copy.img");
    std::filesystem::remove("clone.img");
    mote_format_options format = MOTE_FORMAT_OPTIONS_INIT;
    format.image_size_bytes = 64 << 20;
    format.sparse = 1;
    mote_receive_options made = MOTE_RECEIVE_OPTIONS_INIT;
    made.format = &format;
    const auto put = [&](const void *data, std::size_t size_bytes) {
        const auto *bytes = static_cast<const std::byte *>(data);
        stream.insert(stream.end(), bytes, bytes + size_bytes);
    };
    mote::database db("cpp.img", options);
    const std::uint64_t rows = db.open_table("joints").count(), old_bytes = db.stats().device_bytes;
    const mote_transfer sent = db.send(put, {}, "base", MOTE_NO_VERIFY_SEGMENTS);
    require(sent.stream_bytes == stream.size() && sent.segments_carried > 0);
    require(db.send(put, "base").incremental == 1);
    stream.resize(sent.stream_bytes);
    db.drop_base("base");
    require(thrown([&] { db.drop_base("base"); }) == MOTE_ENOTFOUND);
    try {
        db.send([](const void *, std::size_t) { throw std::length_error("full"); });
        require(false);
    } catch (const std::length_error &) {
    }
    require(db.clone("clone.img", &made).segments_carried == sent.segments_carried);
    require(mote::database("clone.img").open_table("joints").count() == rows);
    std::size_t offset = 0;
    const auto get = [&](void *data, std::size_t size_max) {
        const std::size_t size_bytes = std::min(size_max, stream.size() - offset);
        std::memcpy(data, stream.data() + offset, size_bytes);
        offset += size_bytes;
        return size_bytes;
    };
    require(mote::receive("copy.img", get, &made).stream_bytes == stream.size());
    require(!mote::receive_token("copy.img").empty());
    require(mote::database("copy.img").open_table("joints").count() == rows);
    require(db.wear().written_bytes > 0 && db.trim().free_bytes > 0);
    /* The open volume grows, then the closed one. */
    std::filesystem::resize_file("cpp.img", 72 << 20);
    const mote_resize_result grown = db.grow();
    require(grown.old_bytes == old_bytes && grown.new_bytes == 72 << 20 && db.stats().device_bytes == 72 << 20);
    require(db.grow().new_bytes == 72 << 20);
    require(thrown([&] { db.grow(64 << 20); }) == MOTE_EBUSY && thrown([&] { db.grow(80 << 20); }) == MOTE_ENODEV);
    require(db.open_table("joints").count() == rows);
    db.flush();
    db.close();
    require(mote::resize("cpp.img", 80 << 20).new_bytes == 80 << 20);
    require(mote::database("cpp.img").stats().device_bytes == 80 << 20);
    require(thrown([] { mote::resize("none.img"); }) == MOTE_ENODEV && thrown([] { mote::calibrate("none.img"); }) == MOTE_ENODEV);
}

int main()
{
    mote::format("cpp.img", {.image_size_bytes = 64u << 20, .sparse = true});
    require(thrown([] { mote::format("cpp.img"); }) == MOTE_EFOREIGN);
    write_rows();
    double sum = 0;
    std::size_t rows = 0, nulls = 0;
    {
        mote::database db("cpp.img");
        mote::table joints = db.open_table("joints");
        for (const mote::chunk &chunk : joints.scan({.columns = {"q1", "note"}, .time_from_ns = 0, .time_to_ns = 9})) {
            for (double q : chunk.column<double>(0))
                sum += q;
            for (std::size_t row = 0; row < chunk.row_count(); row++)
                nulls += chunk.is_null(1, row);
            rows += chunk.row_count();
        }
        read_rows(joints);
        push_rows(joints);
        append_batches(db, joints);
        change(db, joints);
        search(joints);
        use_types(db);
        use_large_values(db);
        use_retention(db, joints);
        require(db.c());
    }
    copy_and_grow();
    std::cout << rows << " rows, sum " << sum << ", " << nulls << " nulls\n";
}

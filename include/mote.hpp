/* mote.hpp: a thin C++20 header over mote.h: handles that close themselves, failures as exceptions, rows and chunks as
 * views. Nothing is hidden: every class gives its C handle, and mote.h remains the manual for what each call promises.
 *
 *     mote::format("arm.img", {.image_size_bytes = 512u << 20});
 *     mote::database db("arm.img");
 *     mote::table joints = db.create_table({.name = "joints",
 *                                           .columns = {{"time", MOTE_TYPE_TIMESTAMP}, {"q1", MOTE_TYPE_FLOAT64}},
 *                                           .key = {"time"},
 *                                           .time = "time"});
 *     std::uint64_t ticket = joints.append({mote::timestamp(now_ns), 0.25});
 *     db.wait(ticket);
 *     for (const mote::chunk &chunk : joints.scan({.time_from_ns = a, .time_to_ns = b}))
 *         for (double q : chunk.column<double>(1))
 *             use(q);
 *
 *     struct sample { std::int64_t time_ns; double q1; };
 *     mote::producer<sample> loop(joints, {.ring_records = 1000}); // loop.push(sample) never blocks
 *
 * Ownership: database, cursor and producer close in their destructors; table is a plain reference that lives as long as its
 * database; what row and chunk show lives until the next call on their handle, as in C. Move-only where C has one owner.
 *
 * Errors: mote::error (a std::runtime_error) with the code, and the context in .context(). get() returns an empty
 * optional instead of throwing MOTE_ENOTFOUND. A failing close is only visible through database::close(): a destructor
 * cannot report it.
 *
 * Threads: as in C.
 */
#ifndef MOTE_HPP
#define MOTE_HPP

#include <array>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <iterator>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include <mote.h>

namespace mote
{

class error : public std::runtime_error
{
  public:
    explicit error(const mote_error &context) : std::runtime_error(context.message), context_(context) {}
    int code() const noexcept { return context_.code; }
    const char *name() const noexcept { return mote_error_name(context_.code); }
    const mote_error &context() const noexcept { return context_; }

  private:
    mote_error context_;
};

/* Throws if result is a failure; returns it otherwise. */
inline int check(int result)
{
    if (result >= 0)
        return result;
    mote_error context{};
    mote_last_error(&context);
    context.code = result;
    throw error(context);
}

/* ---- Values: implicit from the usual C++ types; text and blobs are views, copied by the call that takes them ---- */

struct timestamp {
    std::int64_t ns;
    explicit timestamp(std::int64_t nanoseconds) : ns(nanoseconds) {}
};

class value
{
  public:
    value(std::nullptr_t) { value_.is_null = 1; } /* NULL: takes the column's type when it is appended */
    value(std::int64_t v) { set(MOTE_TYPE_INT64).as.i64 = v; }
    value(std::int32_t v) { set(MOTE_TYPE_INT32).as.i32 = v; }
    value(double v) { set(MOTE_TYPE_FLOAT64).as.f64 = v; }
    value(float v) { set(MOTE_TYPE_FLOAT32).as.f32 = v; }
    value(bool v) { set(MOTE_TYPE_BOOL).as.boolean = v; }
    value(timestamp v) { set(MOTE_TYPE_TIMESTAMP).as.i64 = v.ns; }
    value(std::string_view v) { bytes(MOTE_TYPE_TEXT, v.data(), v.size()); }
    value(const char *v) : value(std::string_view(v)) {}
    value(const std::string &v) : value(std::string_view(v)) {}
    value(std::span<const std::byte> v) { bytes(MOTE_TYPE_BLOB, v.data(), v.size()); }
    value(std::span<const float> v) { bytes(MOTE_TYPE_VECTOR_F32, v.data(), v.size_bytes()); }
    value(const std::array<double, 3> &v)
    {
        set(MOTE_TYPE_POINT3);
        for (std::size_t i = 0; i < 3; i++)
            value_.as.point[i] = v[i];
    }
    /* Any other type (vectors of float16 or uint8) as C has it. */
    value(const mote_value &v) : value_(v) {}

    const mote_value &c() const noexcept { return value_; }

  private:
    mote_value &set(mote_type type)
    {
        value_.type = static_cast<std::uint32_t>(type);
        return value_;
    }
    void bytes(mote_type type, const void *data, std::size_t size_bytes)
    {
        set(type).as.bytes.data = data;
        value_.as.bytes.size_bytes = size_bytes;
    }
    mote_value value_{};
};

/* ---- Format ---- */

struct format_options {
    std::uint64_t image_size_bytes = 0;
    std::uint64_t extent_bytes = 0;
    std::uint64_t log_bytes_max = 0;
    std::string force = {};
    bool sparse = false;
    bool dry_run = false;
};

inline mote_layout format(const std::string &path, const format_options &options = {})
{
    mote_format_options c{};
    c.size_bytes = sizeof c;
    c.image_size_bytes = options.image_size_bytes;
    c.extent_bytes = options.extent_bytes;
    c.log_bytes_max = options.log_bytes_max;
    c.force = options.force.empty() ? nullptr : options.force.c_str();
    c.sparse = options.sparse;
    c.dry_run = options.dry_run;
    mote_layout layout{};
    check(mote_format(path.c_str(), &c, &layout));
    return layout;
}

/* ---- Rows and chunks ---- */

class row
{
  public:
    /* Column `position`; text and bytes live as long as the row. */
    mote_value operator[](std::uint32_t position) const
    {
        mote_value value{};
        check(mote_row_value(row_.get(), position, &value));
        return value;
    }
    bool is_null(std::uint32_t position) const { return (*this)[position].is_null != 0; }
    std::int64_t i64(std::uint32_t position) const { return (*this)[position].as.i64; }
    double f64(std::uint32_t position) const { return (*this)[position].as.f64; }
    std::string_view text(std::uint32_t position) const
    {
        const mote_value value = (*this)[position];
        return {static_cast<const char *>(value.as.bytes.data), static_cast<std::size_t>(value.as.bytes.size_bytes)};
    }
    std::uint64_t seq() const noexcept { return mote_row_seq(row_.get()); }
    const mote_row *c() const noexcept { return row_.get(); }

  private:
    friend class table;
    friend class transaction;
    struct freer {
        void operator()(mote_row *handle) const noexcept { mote_row_free(handle); }
    };
    explicit row(mote_row *handle) : row_(handle) {}
    std::unique_ptr<mote_row, freer> row_;
};

class chunk
{
  public:
    std::size_t row_count() const noexcept { return chunk_.row_count; }
    std::size_t column_count() const noexcept { return chunk_.column_count; }
    /* All values of column i of a fixed type; T must be its C type (double, std::int64_t, ...). NULLs hold anything:
     * see is_null. */
    template <typename T> std::span<const T> column(std::size_t i) const
    {
        return {static_cast<const T *>(chunk_.columns[i].values), chunk_.row_count};
    }
    bool is_null(std::size_t i, std::size_t row) const noexcept
    {
        const std::uint8_t *validity = chunk_.columns[i].validity;
        return validity && !(validity[row / 8] >> (row % 8) & 1);
    }
    /* Text or blob of column i. */
    std::string_view text(std::size_t i, std::size_t row) const
    {
        const mote_column &column = chunk_.columns[i];
        return {static_cast<const char *>(column.values) + column.offsets[row],
                column.offsets[row + 1] - column.offsets[row]};
    }
    const mote_chunk &c() const noexcept { return chunk_; }

  private:
    template <typename H, int (*N)(H *, mote_chunk *), void (*C)(H *)> friend class chunks;
    friend class hits;
    mote_chunk chunk_{};
};

/* The rows that a search found, in its order. */
class hits
{
  public:
    /* The next rows, or nullptr at the end. They live until the next call. */
    const chunk *next()
    {
        mote_hit_chunk c{};
        check(mote_hits_next(handle_.get(), &c));
        chunk_.chunk_ = {c.row_count, c.column_count, c.columns};
        scores_ = {c.scores, c.row_count};
        return c.row_count ? &chunk_ : nullptr;
    }
    /* Of the rows of the present chunk. */
    std::span<const double> scores() const noexcept { return scores_; }
    std::uint64_t count() const noexcept { return mote_hits_count(handle_.get()); }
    /* How they were found, for people. */
    std::string explain() const
    {
        const char *text = mote_hits_explain(handle_.get());
        return text ? text : "";
    }
    mote_hits *c() const noexcept { return handle_.get(); }

  private:
    friend class table;
    struct closer {
        void operator()(mote_hits *handle) const noexcept { mote_hits_close(handle); }
    };
    explicit hits(mote_hits *handle) : handle_(handle) {}
    std::unique_ptr<mote_hits, closer> handle_;
    chunk chunk_;
    std::span<const double> scores_;
};

/* What a call yields chunk by chunk: next(), or a range-based for. */
template <typename Handle, int (*Next)(Handle *, mote_chunk *), void (*Close)(Handle *)> class chunks
{
  public:
    /* The next chunk, or nullptr at the end. It lives until the next call. */
    const chunk *next()
    {
        check(Next(handle_.get(), &chunk_.chunk_));
        return chunk_.row_count() ? &chunk_ : nullptr;
    }
    class iterator
    {
      public:
        using iterator_category = std::input_iterator_tag;
        using value_type = chunk;
        using difference_type = std::ptrdiff_t;
        using pointer = const chunk *;
        using reference = const chunk &;
        reference operator*() const { return *at_; }
        pointer operator->() const { return at_; }
        iterator &operator++()
        {
            at_ = owner_->next();
            return *this;
        }
        void operator++(int) { ++*this; }
        bool operator==(std::default_sentinel_t) const noexcept { return at_ == nullptr; }

      private:
        friend class chunks;
        explicit iterator(chunks *owner) : owner_(owner), at_(owner->next()) {}
        chunks *owner_;
        const chunk *at_;
    };
    iterator begin() { return iterator(this); }
    std::default_sentinel_t end() const noexcept { return {}; }
    Handle *c() const noexcept { return handle_.get(); }

  private:
    friend class table;
    friend class transaction;
    struct closer {
        void operator()(Handle *handle) const noexcept { Close(handle); }
    };
    explicit chunks(Handle *handle) : handle_(handle) {}
    std::unique_ptr<Handle, closer> handle_;
    chunk chunk_;
};
using cursor = chunks<mote_cursor, mote_cursor_next, mote_cursor_close>;                     /* rows */
using aggregation = chunks<mote_aggregation, mote_aggregation_next, mote_aggregation_close>; /* results */

/* ---- Snapshots ---- */

/* What was visible at one moment, in all tables. Lives until it is destroyed, and what reads through it may live longer. */
class snapshot
{
  public:
    std::uint64_t seq() const noexcept { return mote_snapshot_seq(handle_.get()); }
    const mote_snapshot *c() const noexcept { return handle_.get(); }

  private:
    friend class database;
    struct closer {
        void operator()(mote_snapshot *handle) const noexcept { mote_snapshot_release(handle); }
    };
    explicit snapshot(mote_snapshot *handle) : handle_(handle) {}
    std::unique_ptr<mote_snapshot, closer> handle_;
};

/* ---- Large values, piece by piece ---- */

/* finish() gives what stands for the value in rows, for as long as the writer lives. */
class blob_writer
{
  public:
    void write(std::span<const std::byte> bytes) { check(mote_blob_write(handle_.get(), bytes.data(), bytes.size())); }
    value finish()
    {
        mote_value made{};
        check(mote_blob_finish(handle_.get(), &made));
        return value(made);
    }

  private:
    friend class table;
    struct closer {
        void operator()(mote_blob_writer *handle) const noexcept { mote_blob_writer_close(handle); }
    };
    explicit blob_writer(mote_blob_writer *handle) : handle_(handle) {}
    std::unique_ptr<mote_blob_writer, closer> handle_;
};

class blob_reader
{
  public:
    std::uint64_t size() const noexcept { return mote_blob_size(handle_.get()); }
    /* How many bytes there were from offset_bytes on. */
    std::size_t read(std::uint64_t offset_bytes, std::span<std::byte> out)
    {
        std::size_t count = 0;
        check(mote_blob_read(handle_.get(), offset_bytes, out.data(), out.size(), &count));
        return count;
    }

  private:
    friend class table;
    struct closer {
        void operator()(mote_blob_reader *handle) const noexcept { mote_blob_reader_close(handle); }
    };
    explicit blob_reader(mote_blob_reader *handle) : handle_(handle) {}
    std::unique_ptr<mote_blob_reader, closer> handle_;
};

/* ---- Tables ---- */

struct column {
    std::string name;
    mote_type type;
    std::uint32_t dimension = 0;
    std::uint32_t flags = 0; /* mote_column_flags */
    std::optional<value> default_value = std::nullopt;
};

struct schema {
    std::string name;
    std::vector<column> columns;
    std::vector<std::string> key = {}; /* empty: a row id */
    std::string time = {};             /* empty: no time column */
    std::uint32_t flags = 0;           /* mote_table_flags */
};

struct scan_options {
    std::vector<value> key_prefix = {};
    std::vector<value> key_from = {};
    std::vector<value> key_to = {};
    std::vector<std::string> columns = {}; /* empty: all but a hidden row id */
    std::optional<std::int64_t> time_from_ns = std::nullopt;
    std::optional<std::int64_t> time_to_ns = std::nullopt;
    bool descending = false;
    std::uint64_t limit = 0;
    std::uint32_t chunk_rows = 0;
    const mote_snapshot *at = nullptr; /* a snapshot's c(); nullptr: the present */
};

struct aggregate_value {
    std::string column; /* empty: the rows, for MOTE_AGGREGATE_COUNT */
    mote_aggregate_function function;
};

struct aggregate_options {
    std::vector<value> key_prefix = {};
    std::vector<value> key_from = {};
    std::vector<value> key_to = {};
    std::optional<std::int64_t> time_from_ns = std::nullopt;
    std::optional<std::int64_t> time_to_ns = std::nullopt;
    bool by_series = false;
    std::int64_t bucket_ns = 0; /* 0: no buckets */
    std::int64_t origin_ns = 0;
    std::uint32_t chunk_rows = 0;
    const mote_snapshot *at = nullptr;
};

struct index_options {
    std::string name;
    mote_index_kind kind;
    std::vector<std::string> columns;
    mote_index_strategy strategy = MOTE_INDEX_BATCH;
    bool unique = false;
    mote_metric metric = MOTE_METRIC_L2;
    std::uint32_t degree = 0, build_list = 0; /* 0: the library's choice */
    std::string language = {};                /* empty: no stemmer */
    bool keep_diacritics = false;
};

/* A condition of a search: struct mote_term with names for positions. What values, vector and bounds point to must live until
 * the search has returned. */
struct term {
    mote_term_kind kind;
    std::vector<std::string> columns = {}; /* or the index; neither: the table's only index of the kind */
    std::string index = {};
    std::uint32_t flags = 0; /* mote_term_flags */
    value from = nullptr, to = nullptr;
    std::vector<value> values = {};
    std::array<double, 3> min = {}, max = {}, centre = {};
    double radius = 0;
    std::span<const float> vector = {};
    std::uint32_t list = 0;
    std::string words = {};
};

struct search_options {
    std::vector<term> terms = {};
    std::uint32_t rank_by = 0;             /* as in C */
    std::vector<std::string> columns = {}; /* empty: all but a hidden row id */
    std::optional<std::int64_t> time_from_ns = std::nullopt;
    std::optional<std::int64_t> time_to_ns = std::nullopt;
    std::uint64_t limit = 0;
    std::uint32_t chunk_rows = 0;
    const mote_snapshot *at = nullptr;
};

class table
{
  public:
    explicit table(mote_table *handle) : table_(handle) {}

    mote_table_info describe() const
    {
        mote_table_info info{};
        info.size_bytes = sizeof info;
        check(mote_table_describe(table_, &info));
        return info;
    }
    std::uint32_t find_column(const std::string &name) const
    {
        return static_cast<std::uint32_t>(check(mote_table_find_column(table_, name.c_str())));
    }

    /* One row, in schema order. Returns the ticket to wait for. */
    std::uint64_t append(std::span<const value> values, mote_durability durability = MOTE_DURABILITY_DEFAULT)
    {
        return write(mote_append, values, durability);
    }
    std::uint64_t append(std::initializer_list<value> values, mote_durability durability = MOTE_DURABILITY_DEFAULT)
    {
        return append(std::span<const value>(values.begin(), values.size()), durability);
    }
    /* As append, but throws MOTE_EEXISTS if the key has a row. */
    std::uint64_t insert(std::initializer_list<value> values, mote_durability durability = MOTE_DURABILITY_DEFAULT)
    {
        return write(mote_insert, std::span<const value>(values.begin(), values.size()), durability);
    }
    std::uint64_t append(const mote_batch &batch, mote_durability durability = MOTE_DURABILITY_DEFAULT)
    {
        const mote_write_options options = write_options(durability);
        std::uint64_t ticket = 0;
        check(mote_append_columns(table_, &batch, &options, &ticket));
        return ticket;
    }
    std::uint64_t erase(std::initializer_list<value> key, mote_durability durability = MOTE_DURABILITY_DEFAULT)
    {
        return write(mote_delete, std::span<const value>(key.begin(), key.size()), durability);
    }
    std::optional<row> get(std::initializer_list<value> key) const { return get(key, nullptr); }
    /* A large value, piece by piece. length_bytes: about how many will come, 0: unknown. */
    blob_writer write_blob(std::uint64_t length_bytes = 0) const
    {
        mote_blob_writer *handle = nullptr;
        check(mote_blob_writer_open(table_, length_bytes, &handle));
        return blob_writer(handle);
    }
    blob_reader read_blob(std::initializer_list<value> key, std::uint32_t column, const mote_snapshot *at = nullptr) const
    {
        const std::vector<mote_value> values = unwrap(std::span<const value>(key.begin(), key.size()));
        mote_blob_reader *handle = nullptr;
        check(mote_blob_reader_open(table_, at, values.data(), values.size(), column, &handle));
        return blob_reader(handle);
    }
    /* As a snapshot sees it (its c()). */
    std::optional<row> get(std::initializer_list<value> key, const mote_snapshot *at) const
    {
        const std::vector<mote_value> values = unwrap(std::span<const value>(key.begin(), key.size()));
        mote_row *handle = nullptr;
        const int result = mote_get_at(table_, at, values.data(), values.size(), &handle);
        row found(handle); /* owns it whatever follows */
        if (result == MOTE_ENOTFOUND)
            return std::nullopt;
        check(result);
        return found;
    }
    /* The rows with these keys, all as of one moment; many reads are in flight at once. */
    std::vector<std::optional<row>> get_many(const std::vector<std::vector<value>> &keys) const
    {
        std::vector<mote_value> values;
        for (const std::vector<value> &key : keys)
            for (const mote_value &part : unwrap(key)) values.push_back(part);
        if (!keys.empty() && values.size() != keys.size() * keys.front().size()) throw std::invalid_argument("mote: keys of different numbers of columns");
        std::vector<std::optional<row>> found(keys.size());
        std::vector<mote_row *> handles(keys.size());
        std::vector<std::int32_t> results(keys.size());
        const int result = keys.empty() ? MOTE_OK : mote_get_many(table_, values.data(), keys.front().size(), keys.size(), handles.data(), results.data());
        for (std::size_t i = 0; i < keys.size(); i++)
            if (row owner(handles[i]); result == MOTE_OK && results[i] == MOTE_OK)
                found[i] = std::move(owner);
        check(result);
        return found;
    }
    cursor scan(const scan_options &options = {}) const { return open<mote_scan>(options); }
    /* The newest row of each series, in key order. */
    cursor latest(const scan_options &options = {}) const { return open<mote_latest>(options); }
    /* How many rows scan would yield. */
    std::uint64_t count(const scan_options &options = {}) const
    {
        return count_with(options, mote_count, table_);
    }
    /* Results by series and bucket: their columns as mote_aggregation_next has them. */
    aggregation aggregate(const std::vector<aggregate_value> &values, const aggregate_options &options = {}) const
    {
        return aggregate_with(values, options, mote_aggregate, table_);
    }
    void create_index(const index_options &options)
    {
        const std::vector<std::uint32_t> columns = positions(options.columns);
        mote_index_options c{};
        c.size_bytes = sizeof c;
        c.name = options.name.c_str();
        c.kind = static_cast<std::uint32_t>(options.kind);
        c.columns = columns.data();
        c.column_count = columns.size();
        c.strategy = static_cast<std::uint32_t>(options.strategy);
        c.unique = options.unique;
        if (options.kind == MOTE_INDEX_VECTOR)
            c.metric = static_cast<std::uint32_t>(options.metric);
        c.degree = options.degree;
        c.build_list = options.build_list;
        c.language = options.language.empty() ? nullptr : options.language.c_str();
        c.keep_diacritics = options.keep_diacritics;
        check(mote_index_create(table_, &c));
    }
    /* How long rows are kept: what is not given is none, or the library's choice. */
    void set_retention(mote_retention retention)
    {
        retention.size_bytes = sizeof retention;
        check(mote_table_set_retention(table_, &retention));
    }
    mote_retention retention() const
    {
        mote_retention found{};
        found.size_bytes = sizeof found;
        check(mote_table_get_retention(table_, &found, nullptr));
        return found;
    }
    mote_retention_info describe_retention() const
    {
        mote_retention_info info{};
        info.size_bytes = sizeof info;
        check(mote_table_get_retention(table_, nullptr, &info));
        return info;
    }
    void pin(const std::string &name, std::int64_t from_ns, std::int64_t to_ns)
    {
        check(mote_pin(table_, name.c_str(), from_ns, to_ns));
    }
    void unpin(const std::string &name) { check(mote_unpin(table_, name.c_str())); }
    void drop_index(const std::string &name) { check(mote_index_drop(table_, name.c_str())); }
    void rebuild_index(const std::string &name) { check(mote_index_rebuild(table_, name.c_str())); }
    mote_index_info describe_index(const std::string &name) const
    {
        mote_index_info info{};
        info.size_bytes = sizeof info;
        check(mote_index_describe(table_, name.c_str(), &info));
        return info;
    }
    /* The rows that satisfy all terms. */
    hits search(const search_options &options) const { return search_with(options, mote_search, table_); }
    mote_table *c() const noexcept { return table_; }

  private:
    friend class write;
    friend class transaction;
    /* The table's own calls, and those of a transaction, of which `from` is the handle and the table. */
    template <class Call, class... From> std::uint64_t count_with(const scan_options &options, Call call, From... from) const
    {
        std::uint64_t found = 0;
        const scan_arguments arguments(*this, options);
        check(call(from..., &arguments.c, &found));
        return found;
    }
    template <class Call, class... From>
    aggregation aggregate_with(const std::vector<aggregate_value> &values, const aggregate_options &options, Call call, From... from) const
    {
        const std::vector<mote_value> prefix = unwrap(options.key_prefix), first = unwrap(options.key_from),
                                      last = unwrap(options.key_to);
        std::vector<mote_aggregate_value> asked;
        for (const aggregate_value &one : values)
            asked.push_back({one.column.empty() ? MOTE_AGGREGATE_ROWS : find_column(one.column),
                             static_cast<std::uint32_t>(one.function)});
        mote_aggregate_options c{};
        c.size_bytes = sizeof c;
        set_range(c, prefix, first, last, options);
        c.by_series = options.by_series;
        c.bucket_ns = options.bucket_ns;
        c.origin_ns = options.origin_ns;
        c.values = asked.data();
        c.value_count = asked.size();
        c.chunk_rows = options.chunk_rows;
        c.snapshot = options.at;
        mote_aggregation *handle = nullptr;
        check(call(from..., &c, &handle));
        return aggregation(handle);
    }
    template <class Call, class... From> hits search_with(const search_options &options, Call call, From... from) const
    {
        const std::vector<std::uint32_t> columns = positions(options.columns);
        std::vector<std::vector<std::uint32_t>> term_columns;
        std::vector<std::vector<mote_value>> term_values;
        std::vector<mote_term> terms;
        for (const term &one : options.terms) {
            term_columns.push_back(positions(one.columns));
            term_values.push_back(unwrap(one.values));
        }
        for (std::size_t i = 0; i < options.terms.size(); i++)
            terms.push_back(make_term(options.terms[i], term_columns[i], term_values[i]));
        mote_search_options c{};
        c.size_bytes = sizeof c;
        c.terms = terms.data();
        c.term_count = terms.size();
        c.rank_by = options.rank_by;
        c.use_time_range = options.time_from_ns || options.time_to_ns;
        c.time_from_ns = options.time_from_ns.value_or(INT64_MIN);
        c.time_to_ns = options.time_to_ns.value_or(INT64_MAX);
        c.limit = options.limit;
        c.columns = columns.empty() ? nullptr : columns.data();
        c.column_count = columns.size();
        c.chunk_rows = options.chunk_rows;
        c.snapshot = options.at;
        mote_hits *handle = nullptr;
        check(call(from..., &c, &handle));
        return hits(handle);
    }
    std::vector<std::uint32_t> positions(const std::vector<std::string> &names) const
    {
        std::vector<std::uint32_t> found;
        for (const std::string &name : names)
            found.push_back(find_column(name));
        return found;
    }
    static mote_term make_term(const term &from, const std::vector<std::uint32_t> &columns,
                               const std::vector<mote_value> &values)
    {
        mote_term c{};
        c.kind = static_cast<std::uint32_t>(from.kind);
        c.flags = from.flags;
        c.index = from.index.empty() ? nullptr : from.index.c_str();
        c.columns = columns.empty() ? nullptr : columns.data();
        c.column_count = columns.size();
        c.from = from.from.c();
        c.to = from.to.c();
        c.values = values.data();
        c.value_count = values.size();
        for (std::size_t i = 0; i < 3; i++) {
            c.min[i] = from.min[i];
            c.max[i] = from.max[i];
            c.centre[i] = from.centre[i];
        }
        c.radius = from.radius;
        c.vector = from.vector.data();
        c.dimension = static_cast<std::uint32_t>(from.vector.size());
        c.list = from.list;
        c.words = from.words.empty() ? nullptr : from.words.c_str();
        return c;
    }
    /* The members that scans and aggregates share. */
    template <typename C, typename Options>
    static void set_range(C &c, const std::vector<mote_value> &prefix, const std::vector<mote_value> &from,
                          const std::vector<mote_value> &to, const Options &options)
    {
        c.key_prefix = prefix.empty() ? nullptr : prefix.data();
        c.key_prefix_count = prefix.size();
        c.key_from = from.empty() ? nullptr : from.data();
        c.key_from_count = from.size();
        c.key_to = to.empty() ? nullptr : to.data();
        c.key_to_count = to.size();
        c.use_time_range = options.time_from_ns || options.time_to_ns;
        c.time_from_ns = options.time_from_ns.value_or(INT64_MIN);
        c.time_to_ns = options.time_to_ns.value_or(INT64_MAX);
    }
    /* Options in the form of C, with what they point to. */
    struct scan_arguments {
        std::vector<mote_value> prefix, from, to;
        std::vector<std::uint32_t> positions;
        mote_scan_options c{};
        scan_arguments(const table &of, const scan_options &options)
            : prefix(unwrap(options.key_prefix)), from(unwrap(options.key_from)), to(unwrap(options.key_to))
        {
            for (const std::string &name : options.columns)
                positions.push_back(of.find_column(name));
            c.size_bytes = sizeof c;
            set_range(c, prefix, from, to, options);
            c.columns = positions.empty() ? nullptr : positions.data();
            c.column_count = positions.size();
            c.descending = options.descending;
            c.limit = options.limit;
            c.chunk_rows = options.chunk_rows;
            c.snapshot = options.at;
        }
        scan_arguments(const scan_arguments &) = delete;
        scan_arguments &operator=(const scan_arguments &) = delete;
    };
    template <int (*Open)(mote_table *, const mote_scan_options *, mote_cursor **)>
    cursor open(const scan_options &options) const
    {
        const scan_arguments arguments(*this, options);
        mote_cursor *handle = nullptr;
        check(Open(table_, &arguments.c, &handle));
        return cursor(handle);
    }
    static mote_write_options write_options(mote_durability durability)
    {
        mote_write_options options{};
        options.size_bytes = sizeof options;
        options.durability = static_cast<std::uint32_t>(durability);
        return options;
    }
    static std::vector<mote_value> unwrap(std::span<const value> values)
    {
        std::vector<mote_value> c;
        c.reserve(values.size());
        for (const value &one : values)
            c.push_back(one.c());
        return c;
    }
    /* A NULL made from nullptr does not know its column; the library wants the column's type in every value. */
    std::vector<mote_value> unwrap_typed(std::span<const value> values) const
    {
        std::vector<mote_value> c = unwrap(values);
        for (std::size_t i = 0; i < c.size(); i++) {
            if (c[i].is_null && c[i].type == 0)
                c[i].type = column_type(i);
        }
        return c;
    }
    template <typename Call> std::uint64_t write(Call call, std::span<const value> values, mote_durability durability)
    {
        const std::vector<mote_value> c = unwrap_typed(values);
        const mote_write_options options = write_options(durability);
        std::uint64_t ticket = 0;
        check(call(table_, c.data(), c.size(), &options, &ticket));
        return ticket;
    }
    std::uint32_t column_type(std::size_t i) const
    {
        const mote_table_info info = describe();
        mote_column_definition definition{};
        check(mote_table_column(table_, 0, &definition));
        /* The hidden row id is not among the values. */
        const bool hidden = info.key_column_count == 1 && info.key_columns[0] == 0 &&
                            std::string_view(definition.name) == "rowid" &&
                            (definition.flags & MOTE_COLUMN_AUTO_INCREMENT);
        check(mote_table_column(table_, static_cast<std::uint32_t>(i + hidden), &definition));
        return definition.type;
    }
    mote_table *table_;
};

/* ---- Writes over several tables, transactions ---- */

/* Rows of several tables that become visible, and durable, as one. */
class write
{
  public:
    void put(const table &to, std::initializer_list<value> values) { add(mote_write_put, to, to.unwrap_typed({values.begin(), values.size()})); }
    void insert(const table &to, std::initializer_list<value> values) { add(mote_write_insert, to, to.unwrap_typed({values.begin(), values.size()})); }
    void put(const table &to, const mote_batch &batch) { check(mote_write_columns(handle_.get(), to.c(), &batch)); }
    void erase(const table &from, std::initializer_list<value> key) { add(mote_write_delete, from, table::unwrap({key.begin(), key.size()})); }
    std::uint64_t rows() const noexcept { return mote_write_rows(handle_.get()); }
    void clear() noexcept { mote_write_clear(handle_.get()); }
    /* Returns the ticket to wait for; the write is empty then and may be filled again. */
    std::uint64_t commit(mote_durability durability = MOTE_DURABILITY_DEFAULT)
    {
        const mote_write_options options = table::write_options(durability);
        std::uint64_t ticket = 0;
        check(mote_write_commit(handle_.get(), &options, &ticket));
        return ticket;
    }
    mote_write *c() const noexcept { return handle_.get(); }

  private:
    friend class database;
    struct closer {
        void operator()(mote_write *handle) const noexcept { mote_write_free(handle); }
    };
    explicit write(mote_write *handle) : handle_(handle) {}
    template <typename Call> void add(Call call, const table &to, const std::vector<mote_value> &values)
    {
        check(call(handle_.get(), to.c(), values.data(), values.size()));
    }
    std::unique_ptr<mote_write, closer> handle_;
};

/* Aborts in its destructor unless it was committed. */
class transaction
{
  public:
    std::optional<row> get(const table &from, std::initializer_list<value> key) const
    {
        const std::vector<mote_value> values = table::unwrap({key.begin(), key.size()});
        mote_row *handle = nullptr;
        const int result = mote_transaction_get(handle_.get(), from.c(), values.data(), values.size(), &handle);
        row found(handle);
        if (result == MOTE_ENOTFOUND)
            return std::nullopt;
        check(result);
        return found;
    }
    cursor scan(const table &from, const scan_options &options = {}) const
    {
        const table::scan_arguments arguments(from, options);
        mote_cursor *handle = nullptr;
        check(mote_transaction_scan(handle_.get(), from.c(), &arguments.c, &handle));
        return cursor(handle);
    }
    cursor latest(const table &from, const scan_options &options = {}) const
    {
        const table::scan_arguments arguments(from, options);
        mote_cursor *handle = nullptr;
        check(mote_transaction_latest(handle_.get(), from.c(), &arguments.c, &handle));
        return cursor(handle);
    }
    aggregation aggregate(const table &of, const std::vector<aggregate_value> &values, const aggregate_options &options = {}) const
    {
        return of.aggregate_with(values, options, mote_transaction_aggregate, handle_.get(), of.c());
    }
    std::uint64_t count(const table &of, const scan_options &options = {}) const
    {
        return of.count_with(options, mote_transaction_count, handle_.get(), of.c());
    }
    hits search(const table &of, const search_options &options) const
    {
        return of.search_with(options, mote_transaction_search, handle_.get(), of.c());
    }
    void put(const table &to, std::initializer_list<value> values) { add(mote_transaction_put, to, to.unwrap_typed({values.begin(), values.size()})); }
    void insert(const table &to, std::initializer_list<value> values) { add(mote_transaction_insert, to, to.unwrap_typed({values.begin(), values.size()})); }
    void put(const table &to, const mote_batch &batch) { check(mote_transaction_columns(handle_.get(), to.c(), &batch)); }
    void erase(const table &from, std::initializer_list<value> key) { add(mote_transaction_delete, from, table::unwrap({key.begin(), key.size()})); }
    std::uint64_t savepoint()
    {
        std::uint64_t point = 0;
        check(mote_transaction_savepoint(handle_.get(), &point));
        return point;
    }
    void rollback_to(std::uint64_t savepoint) { check(mote_transaction_rollback_to(handle_.get(), savepoint)); }
    /* Throws MOTE_ECONFLICT where another write came first; either way the transaction has ended. */
    std::uint64_t commit(mote_durability durability = MOTE_DURABILITY_DEFAULT)
    {
        const mote_write_options options = table::write_options(durability);
        std::uint64_t ticket = 0;
        check(mote_transaction_commit(handle_.release(), &options, &ticket));
        return ticket;
    }
    /* For aggregates and searches: without its own writes. */
    const mote_snapshot *snapshot() const noexcept { return mote_transaction_snapshot(handle_.get()); }
    mote_transaction *c() const noexcept { return handle_.get(); }

  private:
    friend class database;
    struct closer {
        void operator()(mote_transaction *handle) const noexcept { mote_transaction_abort(handle); }
    };
    explicit transaction(mote_transaction *handle) : handle_(handle) {}
    template <typename Call> void add(Call call, const table &to, const std::vector<mote_value> &values)
    {
        check(call(handle_.get(), to.c(), values.data(), values.size()));
    }
    std::unique_ptr<mote_transaction, closer> handle_;
};

/* ---- Producers: rows from a control loop ---- */

struct producer_options {
    std::uint32_t ring_records = 0;
    mote_producer_policy policy = MOTE_PRODUCER_DROP;
    mote_durability durability = MOTE_DURABILITY_DEFAULT;
    std::uint32_t period_ms = 0;
    std::string name = {};
    std::vector<std::uint32_t> columns = {}; /* empty: as mote.h says */
};

/* Record is the struct that mote.h describes; another size than the table's record is refused. push may be called by one
 * thread at a time and never throws, allocates, locks or enters the kernel. */
template <class Record> class producer
{
    static_assert(std::is_trivially_copyable_v<Record> && std::is_standard_layout_v<Record>, "a record is plain data");

  public:
    explicit producer(const table &to, const producer_options &options = {})
    {
        mote_producer_options c{};
        c.size_bytes = sizeof c;
        c.ring_records = options.ring_records;
        c.policy = static_cast<std::uint32_t>(options.policy);
        c.durability = static_cast<std::uint32_t>(options.durability);
        c.period_ms = options.period_ms;
        c.record_bytes = sizeof(Record);
        c.columns = options.columns.empty() ? nullptr : options.columns.data();
        c.column_count = options.columns.size();
        c.name = options.name.empty() ? nullptr : options.name.c_str();
        mote_producer *handle = nullptr;
        check(mote_producer_open(to.c(), &c, &handle));
        producer_.reset(handle);
    }

    /* MOTE_OK, MOTE_DROPPED, MOTE_EAGAIN, or what ended the producer. */
    int push(const Record &record) noexcept { return mote_producer_push(producer_.get(), &record); }
    void flush() { check(mote_producer_flush(producer_.get(), MOTE_FOREVER)); }
    struct mote_producer_stats stats() const
    {
        struct mote_producer_stats stats {};
        stats.size_bytes = sizeof stats;
        check(mote_producer_stats(producer_.get(), &stats));
        return stats;
    }
    /* As the destructor, but reports what went wrong. Before the database closes: that would close it too. */
    void close() { check(mote_producer_close(producer_.release())); }
    mote_producer *c() const noexcept { return producer_.get(); }

  private:
    struct closer {
        void operator()(mote_producer *handle) const noexcept { mote_producer_close(handle); }
    };
    std::unique_ptr<mote_producer, closer> producer_;
};

/* ---- The volume ---- */

/* Measures the device below the volume at path and records the cheaper barrier. */
inline mote_calibration calibrate(const std::string &path)
{
    mote_calibration calibration{};
    calibration.size_bytes = sizeof calibration;
    check(mote_calibrate(path.c_str(), nullptr, &calibration));
    return calibration;
}

inline mote_options default_options()
{
    mote_options options{};
    options.size_bytes = sizeof options;
    return options;
}

/// Makes the device what a stream holds: get(data, size_max) yields how many bytes it put there, 0 at the end. What it throws ends the call.
template <typename Get> mote_transfer receive(const std::string &path, Get get, const mote_receive_options *options = nullptr)
{
    struct source {
        Get &get;
        std::exception_ptr thrown;
    } from{get, nullptr};
    mote_transfer transfer{};
    const int result = mote_receive(
        path.c_str(), options,
        [](void *data, std::size_t size_max, std::size_t *size_bytes, void *context) {
            auto *self = static_cast<source *>(context);
            try {
                *size_bytes = self->get(data, size_max);
                return 0;
            } catch (...) {
                self->thrown = std::current_exception();
                return static_cast<int>(MOTE_EIO);
            }
        },
        &from, &transfer);
    if (from.thrown)
        std::rethrow_exception(from.thrown);
    check(result);
    return transfer;
}

inline std::string receive_token(const std::string &path)
{
    char token[MOTE_TOKEN_BYTES];
    check(mote_receive_token(path.c_str(), token));
    return token;
}

/// The volume fills the first size_bytes bytes of its device; 0: all of it.
inline mote_resize_result resize(const std::string &path, std::uint64_t size_bytes = 0)
{
    mote_resize_result result{};
    check(mote_resize(path.c_str(), size_bytes, nullptr, &result));
    return result;
}

class database
{
  public:
    explicit database(const std::string &path, const mote_options &options = default_options())
    {
        mote_error context{};
        mote_db *handle = nullptr;
        if (const int result = mote_open(path.c_str(), &options, &handle, &context); result < 0) {
            context.code = result;
            throw error(context);
        }
        db_.reset(handle);
    }

    /// The open volume fills the first size_bytes bytes of its device, which was enlarged before; 0: all of it.
    mote_resize_result grow(std::uint64_t size_bytes = 0)
    {
        mote_resize_result result{};
        check(mote_grow(db_.get(), size_bytes, nullptr, &result));
        return result;
    }

    /* As the destructor, but reports what went wrong. */
    void close() { check(mote_close(db_.release())); }

    table create_table(const schema &definition)
    {
        std::vector<mote_column_definition> columns;
        std::vector<std::uint32_t> key;
        for (const column &one : definition.columns) {
            mote_column_definition c{};
            c.name = one.name.c_str();
            c.type = static_cast<std::uint32_t>(one.type);
            c.dimension = one.dimension;
            c.flags = one.flags;
            if (one.default_value) {
                c.flags |= MOTE_COLUMN_HAS_DEFAULT;
                c.default_value = one.default_value->c();
            }
            columns.push_back(c);
        }
        for (const std::string &name : definition.key)
            key.push_back(static_cast<std::uint32_t>(find(definition, name)));
        mote_schema c{};
        c.size_bytes = sizeof c;
        c.name = definition.name.c_str();
        c.columns = columns.data();
        c.column_count = static_cast<std::uint32_t>(columns.size());
        c.flags = definition.flags;
        c.key_columns = key.empty() ? nullptr : key.data();
        c.key_column_count = static_cast<std::uint32_t>(key.size());
        c.time_column = definition.time.empty() ? -1 : find(definition, definition.time);
        mote_table *handle = nullptr;
        check(mote_table_create(db_.get(), &c, &handle));
        return table(handle);
    }
    table open_table(const std::string &name)
    {
        mote_table *handle = nullptr;
        check(mote_table_open(db_.get(), name.c_str(), &handle));
        return table(handle);
    }
    void drop_table(const std::string &name) { check(mote_table_drop(db_.get(), name.c_str())); }

    /* Of what is visible now; with a name: durable, until it is dropped. */
    mote::snapshot take_snapshot(const std::string &name = {})
    {
        mote_snapshot *handle = nullptr;
        check(mote_snapshot_take(db_.get(), name.empty() ? nullptr : name.c_str(), &handle));
        return mote::snapshot(handle);
    }
    mote::snapshot open_snapshot(const std::string &name)
    {
        mote_snapshot *handle = nullptr;
        check(mote_snapshot_open(db_.get(), name.c_str(), &handle));
        return mote::snapshot(handle);
    }
    void drop_snapshot(const std::string &name) { check(mote_snapshot_drop(db_.get(), name.c_str())); }
    mote::write begin_write()
    {
        mote_write *handle = nullptr;
        check(mote_write_begin(db_.get(), &handle));
        return mote::write(handle);
    }
    mote::transaction begin_transaction()
    {
        mote_transaction *handle = nullptr;
        check(mote_transaction_begin(db_.get(), nullptr, &handle));
        return mote::transaction(handle);
    }

    void wait(std::uint64_t ticket) { check(mote_wait(db_.get(), ticket, MOTE_FOREVER)); }
    /* false: the time passed. */
    bool wait_for(std::uint64_t ticket, std::int64_t timeout_ns)
    {
        const int result = mote_wait(db_.get(), ticket, timeout_ns);
        return result == MOTE_ETIMEOUT ? false : (check(result), true);
    }
    std::uint64_t durable_seq() const noexcept { return mote_durable_seq(db_.get()); }
    std::uint64_t visible_seq() const noexcept { return mote_visible_seq(db_.get()); }
    void flush() { check(mote_flush(db_.get())); }
    void checkpoint() { check(mote_checkpoint(db_.get())); }
    mote_stats stats() const
    {
        mote_stats stats{};
        stats.size_bytes = sizeof stats;
        check(mote_get_stats(db_.get(), &stats));
        return stats;
    }
    /// Sends the present state, or what changed since `from` (a base or a token), as a stream: put(bytes, size) takes it, piece by piece. What it throws ends the call.
    template <typename Put> mote_transfer send(Put put, const std::string &from = {}, const std::string &as = {}, mote_no_verify no_verify = MOTE_NO_VERIFY_NONE)
    {
        struct sink {
            Put &put;
            std::exception_ptr thrown;
        } target{put, nullptr};
        mote_send_options options{};
        options.size_bytes = sizeof options;
        options.from = from.empty() ? nullptr : from.c_str();
        options.as = as.empty() ? nullptr : as.c_str();
        options.no_verify = static_cast<std::uint32_t>(no_verify);
        mote_transfer transfer{};
        const int result = mote_send(
            db_.get(), &options,
            [](const void *data, std::size_t size_bytes, void *context) {
                auto *self = static_cast<sink *>(context);
                try {
                    self->put(data, size_bytes);
                    return 0;
                } catch (...) {
                    self->thrown = std::current_exception();
                    return static_cast<int>(MOTE_EIO);
                }
            },
            &target, &transfer);
        if (target.thrown)
            std::rethrow_exception(target.thrown);
        check(result);
        return transfer;
    }
    void drop_base(const std::string &name) { check(mote_base_drop(db_.get(), name.c_str())); }
    /// Makes `path` a copy of this volume; options as for mote_receive.
    mote_transfer clone(const std::string &path, const mote_receive_options *options = nullptr, mote_no_verify no_verify = MOTE_NO_VERIFY_NONE)
    {
        mote_send_options how{};
        how.size_bytes = sizeof how;
        how.no_verify = static_cast<std::uint32_t>(no_verify);
        mote_transfer transfer{};
        check(mote_clone(db_.get(), path.c_str(), &how, options, &transfer));
        return transfer;
    }
    /* What was written over the volume's life, and how long the device lasts; rated_bytes: as its maker promises, 0: not known. */
    mote_wear wear(uint64_t rated_bytes = 0) const
    {
        mote_wear wear{};
        wear.size_bytes = sizeof wear;
        check(mote_get_wear(db_.get(), rated_bytes, &wear));
        return wear;
    }
    /* Discards all free space. */
    mote_trim_result trim()
    {
        mote_trim_result result{};
        result.size_bytes = sizeof result;
        check(mote_trim(db_.get(), nullptr, &result));
        return result;
    }
    mote_db *c() const noexcept { return db_.get(); }

  private:
    static std::int32_t find(const schema &definition, const std::string &name)
    {
        for (std::size_t i = 0; i < definition.columns.size(); i++) {
            if (definition.columns[i].name == name)
                return static_cast<std::int32_t>(i);
        }
        mote_error context{};
        context.code = MOTE_ENOCOLUMN;
        const std::string message = "the schema of table \"" + definition.name + "\" has no column \"" + name + "\"";
        message.copy(context.message, sizeof context.message - 1);
        throw error(context);
    }
    struct closer {
        void operator()(mote_db *handle) const noexcept { mote_close(handle); }
    };
    std::unique_ptr<mote_db, closer> db_;
};

} // namespace mote

#endif /* MOTE_HPP */

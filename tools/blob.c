/* blob.c: `mote blob put|get`: one large value from a file or stdin, or to one, piece by piece: it never is in memory as
 * a whole. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tools/keys.h"

enum { PIECE_BYTES = 1 << 20, OPERANDS_MAX = 5 + MOTE_KEY_COLUMNS_MAX };

struct blob {
    struct tool_common common;
    const char *file; /* NULL or "-": stdin, stdout */
    const char *make_key;
    const char *operands[OPERANDS_MAX];
    unsigned operand_count;
    mote_table *table;
    struct mote_table_info info;
    uint32_t column;
    struct key_values key;
};

static const struct {
    const char *name;
    uint32_t type;
} key_types[] = {
    {"int64", MOTE_TYPE_INT64}, {"int32", MOTE_TYPE_INT32}, {"text", MOTE_TYPE_TEXT}, {"timestamp", MOTE_TYPE_TIMESTAMP},
};

static uint32_t find_type(const char *name)
{
    for (size_t i = 0; i < sizeof key_types / sizeof key_types[0]; i++)
        if (strcmp(key_types[i].name, name) == 0)
            return key_types[i].type;
    return 0;
}

/* A table of the key columns "name:type,..." and one large column. */
static int make_table(struct blob *blob, mote_db *db)
{
    struct mote_column_definition columns[MOTE_KEY_COLUMNS_MAX + 1] = {{0}};
    uint32_t keys[MOTE_KEY_COLUMNS_MAX], count = 0;
    struct mote_schema schema = MOTE_SCHEMA_INIT;
    char *text = tool_alloc(strlen(blob->make_key) + 1), *rest = NULL;
    int result = 0;
    memcpy(text, blob->make_key, strlen(blob->make_key) + 1);
    for (char *word = strtok_r(text, ",", &rest); word && !result; word = strtok_r(NULL, ",", &rest)) {
        char *colon = strchr(word, ':');
        uint32_t type = colon ? find_type(colon + 1) : 0;
        if (!type || count == MOTE_KEY_COLUMNS_MAX) {
            result = tool_refuse(&blob->common, TOOL_USAGE, 0,
                                 "--make-key: expected NAME:TYPE,... of int64, int32, text or timestamp, at most %d, not \"%s\"",
                                 MOTE_KEY_COLUMNS_MAX, word);
            break;
        }
        *colon = 0;
        columns[count] = (struct mote_column_definition){.name = word, .type = type, .flags = MOTE_COLUMN_NOT_NULL};
        if (type == MOTE_TYPE_TIMESTAMP && schema.time_column < 0)
            schema.time_column = (int32_t)count;
        keys[count] = count;
        count++;
    }
    columns[count] = (struct mote_column_definition){.name = blob->operands[3], .type = MOTE_TYPE_BLOB, .flags = MOTE_COLUMN_LARGE};
    schema.name = blob->operands[2];
    schema.columns = columns;
    schema.column_count = count + 1;
    schema.key_columns = keys;
    schema.key_column_count = count;
    if (!result && mote_table_create(db, &schema, &blob->table))
        result = tool_fail(&blob->common, NULL);
    free(text);
    return result;
}

static int find_row(struct blob *blob, mote_db *db)
{
    const char *name = blob->operands[2];
    int result = 0;
    if (blob->make_key && mote_table_open(db, name, &blob->table) == MOTE_ENOTABLE)
        result = make_table(blob, db);
    if (!result)
        result = table_find(&blob->common, db, name, &blob->table, &blob->info);
    if (result)
        return result;
    int column = mote_table_find_column(blob->table, blob->operands[3]);
    if (column < 0)
        return tool_refuse(&blob->common, TOOL_REFUSED, 0, "table \"%s\" has no column \"%s\"", name, blob->operands[3]);
    blob->column = (uint32_t)column;
    result = key_parse_words(&blob->common, blob->table, &blob->info, blob->operands + 4, blob->operand_count - 4, &blob->key);
    if (!result && blob->key.count != blob->info.key_column_count)
        result = tool_refuse(&blob->common, TOOL_USAGE, 0, "the key of table \"%s\" has %u columns, not %zu", name,
                             blob->info.key_column_count, blob->key.count);
    return result;
}

/* ---- put ---- */

static int copy_in(const struct blob *blob, int fd, mote_blob_writer *writer, void *piece)
{
    for (;;) {
        ssize_t count = read(fd, piece, PIECE_BYTES);
        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0)
            return tool_refuse(&blob->common, TOOL_REFUSED, 0, "cannot read the value: %s", strerror(errno));
        if (count == 0)
            return 0;
        if (mote_blob_write(writer, piece, (size_t)count))
            return tool_fail(&blob->common, NULL);
    }
}

/* The row: the key's columns and the value, everything else NULL or its default. */
static int append_row(const struct blob *blob, mote_blob_writer *writer)
{
    struct mote_write_options options = MOTE_WRITE_OPTIONS_INIT;
    struct mote_value *row = tool_alloc(blob->info.column_count * sizeof row[0]);
    size_t key_at = 0;
    int code = MOTE_OK;
    options.durability = MOTE_DURABILITY_SYNC;
    for (uint32_t i = 0; i < blob->info.column_count; i++) {
        struct mote_column_definition definition;
        code = code ? code : mote_table_column(blob->table, i, &definition);
        row[i] = (struct mote_value){.is_null = 1};
        if (!code)
            row[i].type = definition.type;
    }
    for (; key_at < blob->key.count; key_at++)
        row[blob->info.key_columns[key_at]] = blob->key.values[key_at];
    if (!code)
        code = mote_blob_finish(writer, &row[blob->column]);
    if (!code)
        code = mote_append(blob->table, row, blob->info.column_count, &options, NULL);
    free(row);
    return code ? tool_fail(&blob->common, NULL) : 0;
}

static int put(const struct blob *blob)
{
    bool standard = !blob->file || strcmp(blob->file, "-") == 0;
    int fd = standard ? STDIN_FILENO : open(blob->file, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return tool_refuse(&blob->common, TOOL_REFUSED, 0, "cannot open \"%s\": %s", blob->file, strerror(errno));
    struct stat status;
    uint64_t size_bytes = fstat(fd, &status) == 0 && S_ISREG(status.st_mode) ? (uint64_t)status.st_size : 0;
    mote_blob_writer *writer = NULL;
    void *piece = tool_alloc(PIECE_BYTES);
    int result = mote_blob_writer_open(blob->table, size_bytes, &writer) ? tool_fail(&blob->common, NULL) : 0;
    if (!result)
        result = copy_in(blob, fd, writer, piece);
    if (!result)
        result = append_row(blob, writer);
    mote_blob_writer_close(writer);
    free(piece);
    if (!standard)
        close(fd);
    return result;
}

/* ---- get ---- */

static int write_all(int fd, const char *bytes, size_t size_bytes)
{
    while (size_bytes > 0) {
        ssize_t count = write(fd, bytes, size_bytes);
        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0)
            return errno;
        bytes += count;
        size_bytes -= (size_t)count;
    }
    return 0;
}

static int copy_out(const struct blob *blob, mote_blob_reader *reader, int fd, void *piece)
{
    for (uint64_t at = 0, size_bytes = mote_blob_size(reader); at < size_bytes;) {
        size_t count;
        if (mote_blob_read(reader, at, piece, PIECE_BYTES, &count))
            return tool_fail(&blob->common, NULL);
        int error = write_all(fd, piece, count);
        if (error)
            return tool_refuse(&blob->common, TOOL_REFUSED, 0, "cannot write the value: %s", strerror(error));
        at += count;
    }
    return 0;
}

static int get(const struct blob *blob)
{
    mote_blob_reader *reader;
    if (mote_blob_reader_open(blob->table, NULL, blob->key.values, blob->key.count, blob->column, &reader))
        return tool_fail(&blob->common, NULL);
    bool standard = !blob->file || strcmp(blob->file, "-") == 0;
    int fd = standard ? STDOUT_FILENO : open(blob->file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    void *piece = tool_alloc(PIECE_BYTES);
    int result = fd < 0 ? tool_refuse(&blob->common, TOOL_REFUSED, 0, "cannot open \"%s\": %s", blob->file, strerror(errno))
                        : copy_out(blob, reader, fd, piece);
    if (!standard && fd >= 0 && close(fd) && !result)
        result = tool_refuse(&blob->common, TOOL_REFUSED, 0, "cannot write \"%s\": %s", blob->file, strerror(errno));
    free(piece);
    mote_blob_reader_close(reader);
    return result;
}

int command_blob(int argc, char **argv)
{
    struct blob blob = {0};
    const struct option options[] = {
        {"file", OPTION_TEXT, "FILE", "read the value from it, or write it there; default: stdin, stdout", &blob.file, NULL},
        {"make-key", OPTION_TEXT, "C:T,...", "put: make the table, with this key, if there is none", &blob.make_key, NULL},
        {NULL, OPTION_FLAG, NULL, NULL, NULL, NULL},
    };
    const struct tool_usage usage = {
        .command = "blob",
        .operands = "put|get PATH TABLE COLUMN KEY...",
        .summary = "Writes or reads the value of a large column, of any size, piece by piece.",
        .details = "put appends a row of this key with the value, durably; a row that is there is replaced, its other columns\n"
                   "become NULL or their default. get writes the value's bytes and nothing else.",
        .operand_min = 5,
        .operand_max = OPERANDS_MAX,
    };
    int result = tool_parse(&blob.common, &usage, options, argc, argv, blob.operands, &blob.operand_count);
    if (result != OPTIONS_RUN)
        return result;
    bool putting = strcmp(blob.operands[0], "put") == 0;
    if (!putting && strcmp(blob.operands[0], "get"))
        return tool_refuse(&blob.common, TOOL_USAGE, 0, "expected put or get, not \"%s\"", blob.operands[0]);
    if (!putting && blob.make_key)
        return tool_refuse(&blob.common, TOOL_USAGE, 0, "--make-key is for put");
    mote_db *db;
    result = putting ? tool_open_writer(&blob.common, blob.operands[1], &db) : tool_open_reader(&blob.common, blob.operands[1], &db);
    if (result)
        return result;
    result = find_row(&blob, db);
    if (!result)
        result = putting ? put(&blob) : get(&blob);
    key_free(&blob.key);
    return tool_close(&blob.common, db, result);
}

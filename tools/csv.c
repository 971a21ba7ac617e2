/* csv.c: the streaming CSV reader (csv.h). */
#include "tools/csv.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/tool.h"

void csv_open(struct csv *csv, int fd, char delimiter)
{
    memset(csv, 0, offsetof(struct csv, fields));
    csv->fd = fd;
    csv->delimiter = delimiter;
    csv->idle_ms = -1;
    csv->capacity = CSV_BUFFER_BYTES;
    csv->buffer = tool_alloc(csv->capacity);
    csv->next_line = 1;
    csv->field_count = 0;
    csv->problem = NULL;
    csv->system_errno = 0;
}

void csv_close(struct csv *csv)
{
    free(csv->buffer);
    csv->buffer = NULL;
}

/* Makes room behind end: moves what is unread to the front, or grows. */
static void make_room(struct csv *csv)
{
    size_t unread = csv->end - csv->begin;
    if (csv->begin > 0) {
        memmove(csv->buffer, csv->buffer + csv->begin, unread);
        csv->begin = 0;
        csv->end = unread;
    }
    if (unread > csv->capacity / 2) {
        csv->capacity *= 2;
        csv->buffer = tool_realloc(csv->buffer, csv->capacity);
    }
}

/* One read. CSV_RECORD: more is buffered; CSV_END, CSV_IDLE, CSV_FAILED. */
static enum csv_result read_more(struct csv *csv, int wait_ms)
{
    if (csv->at_end || csv->peek)
        return CSV_END;
    make_room(csv);
    for (;;) {
        if (wait_ms >= 0) {
            struct pollfd poller = {.fd = csv->fd, .events = POLLIN};
            int ready = poll(&poller, 1, wait_ms);
            if (ready == 0)
                return CSV_IDLE;
        }
        ssize_t got = read(csv->fd, csv->buffer + csv->end, csv->capacity - csv->end);
        if (got > 0) {
            csv->end += (size_t)got;
            csv->read_bytes += (uint64_t)got;
            return CSV_RECORD;
        }
        if (got == 0) {
            csv->at_end = true;
            return CSV_END;
        }
        if (errno != EINTR) {
            csv->system_errno = errno;
            return CSV_FAILED;
        }
    }
}

enum csv_result csv_fill(struct csv *csv, size_t count, int wait_ms)
{
    assert(count <= CSV_RECORD_BYTES_MAX);
    while (csv->end - csv->begin < count) {
        /* The first bytes may take as long as they like; afterwards a pause means that there is no more for now. */
        enum csv_result result = read_more(csv, csv->end > csv->begin ? wait_ms : -1);
        if (result == CSV_FAILED)
            return result;
        if (result != CSV_RECORD)
            break;
    }
    return CSV_RECORD;
}

struct csv *csv_peek(const struct csv *csv)
{
    struct csv *copy = tool_alloc(sizeof *copy);
    memcpy(copy, csv, sizeof *copy);
    copy->peek = true;
    return copy;
}

enum split { SPLIT_DONE, SPLIT_MORE, SPLIT_BAD };

/* A quoted field at *at (on the opening quote). On SPLIT_DONE *at is behind the closing quote. */
static enum split split_quoted(struct csv *csv, const char **at, const char *end, struct csv_field *field)
{
    const char *first = *at + 1, *scan = first;
    *field = (struct csv_field){.data = first, .quoted = true};
    for (;;) {
        const char *quote = memchr(scan, '"', (size_t)(end - scan));
        if (!quote || (quote + 1 == end && !csv->at_end)) {
            if (quote == NULL && csv->at_end) {
                csv->problem = "a closing quote";
                return SPLIT_BAD;
            }
            return SPLIT_MORE;
        }
        if (quote + 1 < end && quote[1] == '"') {
            field->escaped = true;
            scan = quote + 2;
            continue;
        }
        field->length = (size_t)(quote - first);
        *at = quote + 1;
        return SPLIT_DONE;
    }
}

/* An unquoted field at *at; on SPLIT_DONE *at is on the delimiter, the line end, or the end of the input. */
static enum split split_plain(struct csv *csv, const char **at, const char *end, struct csv_field *field)
{
    const char *scan = *at;
    const char delimiter = csv->delimiter;
    while (scan < end && *scan != delimiter && *scan != '\n' && *scan != '"')
        scan++;
    if (scan == end && !csv->at_end)
        return SPLIT_MORE;
    if (scan < end && *scan == '"') {
        csv->problem = "quotes around a field that holds a quote";
        return SPLIT_BAD;
    }
    size_t length = (size_t)(scan - *at);
    if (length > 0 && scan[-1] == '\r' && (scan == end || *scan == '\n'))
        length--;
    *field = (struct csv_field){.data = *at, .length = length};
    *at = scan;
    return SPLIT_DONE;
}

/* Splits the record at begin into fields; on SPLIT_DONE *next is behind its line end. */
static enum split split_record(struct csv *csv, const char **next)
{
    const char *at = csv->buffer + csv->begin, *end = csv->buffer + csv->end;
    csv->field_count = 0;
    for (;;) {
        if (csv->field_count == CSV_FIELDS_MAX) {
            csv->problem = "fewer fields";
            return SPLIT_BAD;
        }
        struct csv_field *field = &csv->fields[csv->field_count];
        if (at == end && !csv->at_end)
            return SPLIT_MORE;
        bool quoted = at < end && *at == '"';
        enum split split = quoted ? split_quoted(csv, &at, end, field) : split_plain(csv, &at, end, field);
        if (split != SPLIT_DONE)
            return split;
        csv->field_count++;
        if (at < end && *at == '\r' && (at + 1 < end ? at[1] == '\n' : csv->at_end))
            at++;
        else if (at + 1 == end && *at == '\r')
            return SPLIT_MORE;
        if (at == end) {
            *next = at;
            return csv->at_end ? SPLIT_DONE : SPLIT_MORE;
        }
        if (*at == '\n') {
            *next = at + 1;
            return SPLIT_DONE;
        }
        if (*at != csv->delimiter) {
            csv->problem = "a delimiter or the end of the line after a closing quote";
            csv->field_count--; /* so that it is this field's number that is reported */
            return SPLIT_BAD;
        }
        at++;
    }
}

/* Undoes doubled quotes in place; nobody looks at this part of the buffer again. */
static void unescape(struct csv_field *field, char *buffer)
{
    char *to = buffer + (field->data - buffer);
    const char *from = field->data, *end = from + field->length;
    while (from < end) {
        if (*from == '"')
            from++;
        *to++ = *from++;
    }
    field->length = (size_t)(to - field->data);
    field->escaped = false;
}

static uint64_t count_lines(const char *from, const char *to)
{
    uint64_t lines = 0;
    for (const char *at = from; (at = memchr(at, '\n', (size_t)(to - at))) != NULL; at++)
        lines++;
    return lines;
}

static enum csv_result finish_record(struct csv *csv, const char *next)
{
    const char *first = csv->buffer + csv->begin;
    bool quoted = false, escaped = false;
    for (size_t i = 0; i < csv->field_count; i++) {
        quoted |= csv->fields[i].quoted;
        escaped |= csv->fields[i].escaped;
    }
    csv->line = csv->next_line;
    csv->next_line += quoted ? count_lines(first, next) : 1; /* before anything is moved */
    csv->begin = (size_t)(next - csv->buffer);
    for (size_t i = 0; escaped && !csv->peek && i < csv->field_count; i++) {
        if (csv->fields[i].escaped)
            unescape(&csv->fields[i], csv->buffer);
    }
    return CSV_RECORD;
}

static bool line_is_buffered(const struct csv *csv)
{
    return memchr(csv->buffer + csv->begin, '\n', csv->end - csv->begin) != NULL;
}

/* Passes over the first line of a malformed record. */
static enum csv_result pass_over(struct csv *csv)
{
    const char *first = csv->buffer + csv->begin;
    const char *end = memchr(first, '\n', csv->end - csv->begin);
    csv->line = csv->next_line++;
    csv->begin = end ? (size_t)(end + 1 - csv->buffer) : csv->end;
    return CSV_BAD;
}

static void skip_byte_order_mark(struct csv *csv)
{
    if (csv->started || csv->end - csv->begin < 3)
        return;
    if (memcmp(csv->buffer + csv->begin, "\xEF\xBB\xBF", 3) == 0)
        csv->begin += 3;
    csv->started = true;
}

enum csv_result csv_next(struct csv *csv)
{
    for (;;) {
        skip_byte_order_mark(csv);
        if (csv->begin == csv->end && csv->at_end)
            return CSV_END;
        const char *next = NULL;
        enum split split = csv->begin == csv->end ? SPLIT_MORE : split_record(csv, &next);
        if (split == SPLIT_DONE)
            return finish_record(csv, next);
        bool too_long = csv->end - csv->begin > CSV_RECORD_BYTES_MAX;
        if (split == SPLIT_MORE && too_long) {
            csv->problem = "a record of at most 16 MiB (is a quote not closed?)";
            split = SPLIT_BAD;
        }
        if (split == SPLIT_BAD && (too_long || csv->at_end || line_is_buffered(csv)))
            return pass_over(csv);
        if (csv->peek)
            return CSV_END;
        enum csv_result result = read_more(csv, csv->idle_ms);
        if (result == CSV_IDLE || result == CSV_FAILED)
            return result;
    }
}

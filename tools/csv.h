/* csv.h: a streaming reader of RFC 4180 comma-separated values from a file descriptor (a file, a pipe, a terminal).
 *
 * Records end with LF or CRLF (the last one may lack it). A field may be quoted; inside quotes a doubled quote stands
 * for one, and delimiter and line ends are ordinary. A quote inside an unquoted field, or text after a closing quote,
 * is an error of that record; reading goes on behind its first line. An empty line is a record of one empty field; the
 * caller decides what that means. A UTF-8 byte order mark at the start is skipped.
 *
 * Memory: one buffer that holds the record under the cursor, grown on demand up to CSV_RECORD_BYTES_MAX. Fields point
 * into it and live until the next call.
 */
#ifndef MOTE_TOOLS_CSV_H
#define MOTE_TOOLS_CSV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { CSV_BUFFER_BYTES = 1 << 20, CSV_RECORD_BYTES_MAX = 16 << 20, CSV_FIELDS_MAX = 4096 };

struct csv_field {
    const char *data;
    size_t length;
    bool quoted;  /* it stood in quotes: an empty one is an empty text, not NULL */
    bool escaped; /* it holds doubled quotes that are still to be undone */
};

enum csv_result {
    CSV_RECORD, /* fields[0..field_count) */
    CSV_END,
    CSV_IDLE,   /* no input for idle_ms; call again */
    CSV_BAD,    /* the record is malformed: problem says how; it has been passed over */
    CSV_FAILED, /* read failed: system_errno */
};

struct csv {
    int fd;
    char delimiter;
    int idle_ms; /* how long to wait for input before CSV_IDLE; -1: for ever */
    bool peek;   /* a look ahead: never reads, never changes the buffer */
    bool at_end; /* the descriptor has no more */
    bool started;
    char *buffer;
    size_t capacity, begin, end;
    uint64_t line; /* of the record under the cursor, from 1 */
    uint64_t next_line;
    uint64_t read_bytes; /* from the descriptor */
    struct csv_field fields[CSV_FIELDS_MAX];
    size_t field_count;
    const char *problem;
    int system_errno;
};

void csv_open(struct csv *csv, int fd, char delimiter);
void csv_close(struct csv *csv);
enum csv_result csv_next(struct csv *csv);
/* Reads on until count bytes are buffered, the input ends, or it pauses for wait_ms. CSV_RECORD, or CSV_FAILED. */
enum csv_result csv_fill(struct csv *csv, size_t count, int wait_ms);
/* A second reader on what is buffered, from the present place; csv_next on it ends where the buffer does. Free it with
 * free(). */
struct csv *csv_peek(const struct csv *csv);

#endif

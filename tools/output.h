/* output.h: buffered output to a file descriptor, and a JSON writer on top of it. A failed write is kept and reported
 * by output_close: a scan into a full filesystem must not look complete.
 */
#ifndef MOTE_TOOLS_OUTPUT_H
#define MOTE_TOOLS_OUTPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { OUTPUT_BYTES = 128 * 1024, OUTPUT_RESERVE = 512 };

struct output {
    int fd;
    int failed_errno; /* of the first write that failed */
    size_t used;
    uint64_t written_bytes;
    char data[OUTPUT_BYTES];
};

void output_open(struct output *out, int fd);
void output_flush(struct output *out);
/* Flushes; 0, or the errno of the first failed write. Leaves the descriptor open. */
int output_close(struct output *out);
void output_bytes(struct output *out, const void *data, size_t size_bytes);
void output_text(struct output *out, const char *text);
void output_format(struct output *out, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Room for OUTPUT_RESERVE bytes to print into; then output_advance by what was used. */
static inline char *output_reserve(struct output *out)
{
    if (out->used + OUTPUT_RESERVE > OUTPUT_BYTES)
        output_flush(out);
    return out->data + out->used;
}
static inline void output_advance(struct output *out, size_t size_bytes)
{
    out->used += size_bytes;
}
static inline void output_char(struct output *out, char c)
{
    *output_reserve(out) = c;
    out->used++;
}
/* A JSON string with its quotes; bytes that are no UTF-8 become U+FFFD. */
void output_json_string(struct output *out, const char *text, size_t size_bytes);

/* Length in bytes of the well-formed UTF-8 sequence at data, or 0. */
size_t utf8_sequence(const uint8_t *data, size_t size_bytes);
/* Whether all of it is well-formed. */
bool utf8_valid(const uint8_t *data, size_t size_bytes);

enum { JSON_DEPTH_MAX = 16 };
struct json {
    struct output *out;
    unsigned depth;
    bool filled[JSON_DEPTH_MAX]; /* whether the level has a member already */
};

void json_begin(struct json *json, struct output *out);
/* bracket: '{' or '['. key NULL: an element of an array, or the outermost value. */
void json_open(struct json *json, const char *key, char bracket);
void json_close(struct json *json, char bracket);
/* Writes comma and key; the value follows by output_... */
void json_key(struct json *json, const char *key);
void json_text(struct json *json, const char *key, const char *value);
void json_u64(struct json *json, const char *key, uint64_t value);
void json_i64(struct json *json, const char *key, int64_t value);
void json_real(struct json *json, const char *key, double value);
void json_bool(struct json *json, const char *key, bool value);

#endif

/* output.c: buffered output and the JSON writer (output.h). */
#include "tools/output.h"

#include <assert.h>
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include "tools/number.h"

void output_open(struct output *out, int fd)
{
    out->fd = fd;
    out->failed_errno = 0;
    out->used = 0;
    out->written_bytes = 0;
}

static void write_all(struct output *out, const char *data, size_t size_bytes)
{
    while (size_bytes > 0 && !out->failed_errno) {
        ssize_t done = write(out->fd, data, size_bytes);
        if (done < 0) {
            if (errno == EINTR)
                continue;
            out->failed_errno = errno;
            return;
        }
        data += done;
        size_bytes -= (size_t)done;
        out->written_bytes += (uint64_t)done;
    }
}

void output_flush(struct output *out)
{
    write_all(out, out->data, out->used);
    out->used = 0;
}

int output_close(struct output *out)
{
    output_flush(out);
    return out->failed_errno;
}

void output_bytes(struct output *out, const void *data, size_t size_bytes)
{
    if (size_bytes > OUTPUT_BYTES - out->used) {
        output_flush(out);
        if (size_bytes > OUTPUT_BYTES) {
            write_all(out, data, size_bytes);
            return;
        }
    }
    memcpy(out->data + out->used, data, size_bytes);
    out->used += size_bytes;
}

void output_text(struct output *out, const char *text)
{
    output_bytes(out, text, strlen(text));
}

void output_format(struct output *out, const char *format, ...)
{
    char text[1024];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    assert(length >= 0);
    output_bytes(out, text, (size_t)length < sizeof text ? (size_t)length : sizeof text - 1);
}

size_t utf8_sequence(const uint8_t *data, size_t size_bytes)
{
    uint8_t first = data[0];
    if (first < 0x80)
        return 1;
    size_t length = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;
    if (first < 0xC2 || first > 0xF4 || length > size_bytes)
        return 0;
    /* The second byte's range excludes overlong forms, surrogates and what lies beyond U+10FFFF. */
    uint8_t low = first == 0xE0 ? 0xA0 : first == 0xF0 ? 0x90 : 0x80;
    uint8_t high = first == 0xED ? 0x9F : first == 0xF4 ? 0x8F : 0xBF;
    if (data[1] < low || data[1] > high)
        return 0;
    for (size_t i = 2; i < length; i++) {
        if (data[i] < 0x80 || data[i] > 0xBF)
            return 0;
    }
    return length;
}

bool utf8_valid(const uint8_t *data, size_t size_bytes)
{
    size_t at = 0;
    while (at < size_bytes) {
        size_t length = utf8_sequence(data + at, size_bytes - at);
        if (length == 0)
            return false;
        at += length;
    }
    return true;
}

void output_json_string(struct output *out, const char *text, size_t size_bytes)
{
    const uint8_t *data = (const uint8_t *)text;
    output_char(out, '"');
    for (size_t at = 0; at < size_bytes;) {
        size_t length = utf8_sequence(data + at, size_bytes - at);
        uint8_t c = data[at];
        if (length == 0) {
            output_text(out, "\\ufffd");
            length = 1;
        } else if (c == '"' || c == '\\') {
            output_char(out, '\\');
            output_char(out, (char)c);
        } else if (c == '\n' || c == '\t' || c == '\r') {
            output_text(out, c == '\n' ? "\\n" : c == '\t' ? "\\t" : "\\r");
        } else if (c < 0x20) {
            output_format(out, "\\u%04x", c);
        } else {
            output_bytes(out, data + at, length);
        }
        at += length;
    }
    output_char(out, '"');
}

void json_begin(struct json *json, struct output *out)
{
    *json = (struct json){.out = out};
}

void json_key(struct json *json, const char *key)
{
    if (json->depth > 0) {
        if (json->filled[json->depth])
            output_char(json->out, ',');
        json->filled[json->depth] = true;
    }
    if (key) {
        output_json_string(json->out, key, strlen(key));
        output_char(json->out, ':');
    }
}

void json_open(struct json *json, const char *key, char bracket)
{
    json_key(json, key);
    output_char(json->out, bracket);
    assert(json->depth + 1 < JSON_DEPTH_MAX);
    json->filled[++json->depth] = false;
}

void json_close(struct json *json, char bracket)
{
    assert(json->depth > 0);
    json->depth--;
    output_char(json->out, bracket);
}

void json_text(struct json *json, const char *key, const char *value)
{
    json_key(json, key);
    output_json_string(json->out, value, strlen(value));
}

void json_u64(struct json *json, const char *key, uint64_t value)
{
    json_key(json, key);
    output_format(json->out, "%llu", (unsigned long long)value);
}

void json_i64(struct json *json, const char *key, int64_t value)
{
    json_key(json, key);
    output_format(json->out, "%lld", (long long)value);
}

void json_real(struct json *json, const char *key, double value)
{
    json_key(json, key);
    if (!isfinite(value)) {
        output_text(json->out, "null");
        return;
    }
    output_advance(json->out, number_print_double(value, output_reserve(json->out)));
}

void json_bool(struct json *json, const char *key, bool value)
{
    json_key(json, key);
    output_text(json->out, value ? "true" : "false");
}

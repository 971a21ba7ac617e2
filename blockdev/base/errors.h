/* errors.h: how every layer reports a failure: a negative MOTE_E code (include/mote.h), returned, and beside it one sentence with its
 * context, kept for the calling thread (mote_last_error).
 *
 *     return error_set(MOTE_EIO, "cannot write %u bytes: %s; replace the device", n, strerror(e));
 *
 * Rules: the layer that finds the fault sets the sentence; a layer above may add context (error_add_*) and passes the code on, it never
 * sets a second sentence for the same fault. Code that expects a failure and handles it (a torn tail, a probe) does not set one.
 * Threads: the context is thread-local. A thread that fails on behalf of another copies it with error_get / error_restore.
 * Not for hot paths: formatting costs about a microsecond.
 */
#ifndef MOTE_BLOCKDEV_BASE_ERRORS_H
#define MOTE_BLOCKDEV_BASE_ERRORS_H

#include "include/mote.h"

/* Begins a new error of this code: clears the context, formats the sentence, returns code. */
int error_set(int code, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The same, and keeps the operating system's errno (positive) beside it. */
int error_set_errno(int code, int system_errno, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* Add context to the thread's present error. */
void error_add_device(const char *path, uint64_t offset_bytes, uint64_t length_bytes);
void error_add_table(const char *name);
void error_add_lsn(uint64_t lsn);
void error_add_line(uint64_t line);
/* Copy the thread's present error out, and make it (perhaps in another thread) the present one again. Returns its code. */
int error_get(struct mote_error *error);
int error_restore(const struct mote_error *error);
/* The MOTE_E code that an errno of a device's I/O or of open(2) stands for. */
int error_from_errno(int system_errno);

#endif

/* errors.c: the thread's newest error (errors.h) and the two public calls that read it.
 *
 * Invariant: `present` always holds ended strings and lsn = UINT64_MAX where no log position applies.
 * Threads: one context for each thread; nothing is shared. Failures: none; sentences that are too long are cut.
 */
#include "blockdev/base/errors.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static _Thread_local struct mote_error present = {.lsn = UINT64_MAX};

static void begin_error(int code, int system_errno, const char *format, va_list arguments)
    __attribute__((format(printf, 3, 0)));

/* The sentence may be built from strings of the present error (a layer that rephrases), so that it is formatted before they are cleared. */
static void begin_error(int code, int system_errno, const char *format, va_list arguments)
{
    assert(code < 0);
    char message[sizeof present.message];
    (void)vsnprintf(message, sizeof message, format, arguments);
    present = (struct mote_error){.code = code, .system_errno = system_errno, .lsn = UINT64_MAX};
    memcpy(present.message, message, sizeof message);
    present.message[sizeof message - 1] = 0;
}

int error_set(int code, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    begin_error(code, 0, format, arguments);
    va_end(arguments);
    return code;
}

int error_set_errno(int code, int system_errno, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    begin_error(code, system_errno, format, arguments);
    va_end(arguments);
    return code;
}

static void copy_name(char *target, size_t target_bytes, const char *name)
{
    (void)snprintf(target, target_bytes, "%s", name ? name : "");
}

void error_add_device(const char *path, uint64_t offset_bytes, uint64_t length_bytes)
{
    copy_name(present.device, sizeof present.device, path);
    present.offset_bytes = offset_bytes;
    present.length_bytes = length_bytes;
}

void error_add_table(const char *name) { copy_name(present.table, sizeof present.table, name); }

void error_add_lsn(uint64_t lsn) { present.lsn = lsn; }

void error_add_line(uint64_t line) { present.line = line; }

int error_get(struct mote_error *error)
{
    if (error)
        *error = present;
    return present.code;
}

int error_restore(const struct mote_error *error)
{
    present = *error;
    present.device[sizeof present.device - 1] = 0;
    present.table[sizeof present.table - 1] = 0;
    present.message[sizeof present.message - 1] = 0;
    return present.code;
}

int error_from_errno(int system_errno)
{
    switch (system_errno < 0 ? -system_errno : system_errno) {
    case 0:
        return MOTE_OK;
    case EACCES:
    case EPERM:
    case EROFS:
        return MOTE_EACCESS;
    case ENOENT:
    case ENOTDIR:
    case ENODEV:
    case ENXIO:
    case ENOTBLK:
    case ENOMEDIUM:
    case ELOOP:
        return MOTE_ENODEV;
    case EBUSY:
    case EAGAIN:
    case ETXTBSY:
        return MOTE_EBUSY;
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
        return MOTE_ENOSPC;
    case ENOMEM:
    case EMFILE:
    case ENFILE:
        return MOTE_ENOMEM;
    case EINVAL:
    case ENAMETOOLONG:
    case EISDIR:
        return MOTE_EINVAL;
    case ENOSYS:
    case EOPNOTSUPP:
        return MOTE_ENOTSUP;
    case ETIME:
        return MOTE_ETIMEOUT;
    case EBADMSG:
    case EILSEQ:
        return MOTE_EDAMAGED; /* the device's own check (protection information, dm-integrity) says so */
    default:
        return MOTE_EIO;
    }
}

MOTE_API int mote_last_error(struct mote_error *error) { return error_get(error); }

MOTE_API const char *mote_error_name(int code)
{
    switch (code) {
#define NAME(name)                                                                                                     \
    case name:                                                                                                         \
        return #name
        NAME(MOTE_OK);
        NAME(MOTE_EINVAL);
        NAME(MOTE_ESCHEMA);
        NAME(MOTE_ETOOBIG);
        NAME(MOTE_EEXISTS);
        NAME(MOTE_ENOTFOUND);
        NAME(MOTE_ENOTABLE);
        NAME(MOTE_ENOCOLUMN);
        NAME(MOTE_EREADONLY);
        NAME(MOTE_EFORK);
        NAME(MOTE_EBUDGET);
        NAME(MOTE_ENOSPC);
        NAME(MOTE_ETIMEOUT);
        NAME(MOTE_ENOTSUP);
        NAME(MOTE_EAGAIN);
        NAME(MOTE_ERANGE);
        NAME(MOTE_ECONFLICT);
        NAME(MOTE_ERECYCLED);
        NAME(MOTE_EBUSY);
        NAME(MOTE_EFOREIGN);
        NAME(MOTE_EVERSION);
        NAME(MOTE_ENODEV);
        NAME(MOTE_EACCESS);
        NAME(MOTE_ESHRUNK);
        NAME(MOTE_ERESTORING);
        NAME(MOTE_EIO);
        NAME(MOTE_EDAMAGED);
        NAME(MOTE_ELOST);
        NAME(MOTE_EPOISONED);
        NAME(MOTE_ENOMEM);
        NAME(MOTE_EINTERNAL);
#undef NAME
    default:
        return "MOTE_E?";
    }
}

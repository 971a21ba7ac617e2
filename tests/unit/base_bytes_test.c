/* base_bytes_test.c: fields of device bytes, the bounded reader and writer, units, and the thread's newest error. */
#include "blockdev/base/bytes.h"
#include "blockdev/base/errors.h"
#include "blockdev/base/units.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>

Test(base_bytes, fields_are_little_endian)
{
    uint8_t bytes[9] = {0};
    store_u64(bytes + 1, 0x0102030405060708);
    cr_assert_eq(memcmp(bytes + 1, "\x08\x07\x06\x05\x04\x03\x02\x01", 8), 0);
    cr_assert_eq(load_u64(bytes + 1), 0x0102030405060708u);
    cr_assert_eq(load_u32(bytes + 1), 0x05060708u);
    cr_assert_eq(load_u16(bytes + 1), 0x0708u);
    cr_assert_eq(load_u8(bytes + 1), 8u);
    store_be64(bytes + 1, 0x0102030405060708);
    cr_assert_eq(memcmp(bytes + 1, "\x01\x02\x03\x04\x05\x06\x07\x08", 8), 0);
    cr_assert_eq(load_be64(bytes + 1), 0x0102030405060708u);
    store_be32(bytes + 1, 0x01020304);
    cr_assert_eq(load_be32(bytes + 1), 0x01020304u);
    cr_assert_eq(bytes[1], 1);
}

Test(base_bytes, reader_refuses_to_run_past_its_end)
{
    static const uint8_t bytes[7] = {1, 0, 2, 0, 0, 0, 9};
    struct byte_reader reader = byte_reader_make(bytes, sizeof bytes);
    cr_assert_eq(read_u16(&reader), 1);
    cr_assert_eq(read_u32(&reader), 2);
    cr_assert_eq(byte_reader_left(&reader), 1);
    cr_assert_eq(read_u32(&reader), 0);
    cr_assert(reader.failed);
    cr_assert_eq(read_u8(&reader), 0, "a failed reader stays failed");
    cr_assert_null(read_bytes(&reader, 0));
    reader = byte_reader_make(bytes, sizeof bytes);
    cr_assert_null(read_bytes(&reader, SIZE_MAX));
}

Test(base_bytes, writer_writes_nothing_past_its_end)
{
    uint8_t bytes[8];
    memset(bytes, 0xee, sizeof bytes);
    struct byte_writer writer = byte_writer_make(bytes, 6);
    write_u32(&writer, 1);
    write_u32(&writer, 2);
    cr_assert(writer.failed);
    cr_assert_eq(byte_writer_size(&writer), 4);
    write_u8(&writer, 3);
    cr_assert_eq(byte_writer_size(&writer), 4);
    for (size_t i = 4; i < 8; i++)
        cr_assert_eq(bytes[i], 0xee);
}

Test(base_bytes, units_round)
{
    cr_assert_eq(round_up(0, 4096), 0);
    cr_assert_eq(round_up(1, 4096), 4096);
    cr_assert_eq(round_up(4096, 4096), 4096);
    cr_assert_eq(round_down(4097, 4096), 4096);
    cr_assert_eq(divide_up(9, 4), 3);
    cr_assert(is_power_of_two(1ull << 63) && !is_power_of_two(0) && !is_power_of_two(12));
}

Test(base_errors, newest_error_replaces_and_keeps_context)
{
    struct mote_error error;
    cr_assert_eq(error_set_errno(MOTE_EIO, EIO, "cannot write %u bytes; replace the device", 512u), MOTE_EIO);
    error_add_device("/tmp/a.img", 4096, 512);
    error_add_table("arm");
    error_add_lsn(77);
    error_add_line(3);
    cr_assert_eq(mote_last_error(&error), MOTE_EIO);
    cr_assert_eq(error.system_errno, EIO);
    cr_assert_str_eq(error.message, "cannot write 512 bytes; replace the device");
    cr_assert_str_eq(error.device, "/tmp/a.img");
    cr_assert_str_eq(error.table, "arm");
    cr_assert(error.offset_bytes == 4096 && error.length_bytes == 512 && error.lsn == 77 && error.line == 3);
    cr_assert_eq(error_set(MOTE_EINVAL, "no"), MOTE_EINVAL);
    struct mote_error second;
    cr_assert_eq(error_get(&second), MOTE_EINVAL);
    cr_assert(second.device[0] == 0 && second.table[0] == 0 && second.lsn == UINT64_MAX && second.system_errno == 0);
    cr_assert_eq(error_restore(&error), MOTE_EIO);
    cr_assert_eq(mote_last_error(NULL), MOTE_EIO);
}

Test(base_errors, long_sentences_and_names_are_cut)
{
    struct mote_error error;
    char name[1000];
    memset(name, 'x', sizeof name - 1);
    name[sizeof name - 1] = 0;
    error_set(MOTE_EIO, "%s", name);
    error_add_device(name, 0, 0);
    error_add_table(name);
    mote_last_error(&error);
    cr_assert_eq(strlen(error.message), sizeof error.message - 1);
    cr_assert_eq(strlen(error.device), sizeof error.device - 1);
    cr_assert_eq(strlen(error.table), sizeof error.table - 1);
}

static void *fail_elsewhere(void *result)
{
    *(int *)result = mote_last_error(NULL);
    error_set(MOTE_ENOSPC, "in another thread");
    return NULL;
}

Test(base_errors, error_belongs_to_its_thread)
{
    pthread_t thread;
    int seen = 1;
    error_set(MOTE_EBUSY, "here");
    cr_assert_eq(pthread_create(&thread, NULL, fail_elsewhere, &seen), 0);
    pthread_join(thread, NULL);
    cr_assert_eq(seen, MOTE_OK);
    cr_assert_eq(mote_last_error(NULL), MOTE_EBUSY);
}

Test(base_errors, every_code_has_its_name)
{
    size_t named = 0;
    for (int code = 0; code > -100; code--)
        named += strcmp(mote_error_name(code), "MOTE_E?") != 0;
    cr_assert_eq(named, 31);
    cr_assert_str_eq(mote_error_name(MOTE_ENOSPC), "MOTE_ENOSPC");
    cr_assert_str_eq(mote_error_name(MOTE_OK), "MOTE_OK");
    cr_assert_str_eq(mote_error_name(5), "MOTE_E?");
    cr_assert_eq(error_from_errno(EIO), MOTE_EIO);
    cr_assert_eq(error_from_errno(-ENOSPC), MOTE_ENOSPC);
    cr_assert_eq(error_from_errno(EBUSY), MOTE_EBUSY);
    cr_assert_eq(error_from_errno(EACCES), MOTE_EACCESS);
    cr_assert_eq(error_from_errno(ENOENT), MOTE_ENODEV);
    cr_assert_eq(error_from_errno(12345), MOTE_EIO);
}

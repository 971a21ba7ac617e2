/* log_parts_test.c: the operations of the log of which a batch in parts is made, and what recovery gathers of them: golden bytes, every field out of its range, parts that are missing, repeated, too long, or another batch's. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "blockdev/base/memory.h"
#include "engine/recover_parts.h"
#include "include/mote.h"

static struct log_op part(uint64_t batch_id, uint32_t number, uint32_t piece_bytes, uint32_t total_bytes) { return (struct log_op){LOG_OP_PART, 0, number, 0, LOG_OP_HEADER_BYTES + piece_bytes, total_bytes, batch_id}; }

Test(log_parts, operations_have_golden_bytes)
{
    static const uint8_t golden[3][LOG_OP_HEADER_BYTES] = {
        {4, 0, 0, 0, 2, 0, 0, 0, 0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, 0, 0, 0, 0, 48, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0},
        {5, 0, 0, 0, 3, 0, 0, 0, 0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, 7, 0, 0, 0, 40, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0},
        {6, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 64, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0},
    };
    const struct log_op ops[3] = {part(0x1122334455667788u, 2, 16, 256), {LOG_OP_END, 0, 3, 7, LOG_END_BYTES, 0, 0x1122334455667788u}, {LOG_OP_NOTHING, 0, 0, 9, 64, 0, 0}};
    for (unsigned i = 0; i < 3; i++) {
        uint8_t bytes[LOG_OP_HEADER_BYTES];
        struct log_op decoded;
        log_op_encode(bytes, &ops[i]);
        cr_assert_arr_eq(bytes, golden[i], sizeof bytes);
        cr_assert(log_op_decode(bytes, ops[i].op_bytes, &decoded) && memcmp(&decoded, &ops[i], sizeof decoded) == 0);
        cr_assert(!log_op_decode(bytes, ops[i].op_bytes - 1, &decoded));
    }
}

Test(log_parts, operations_out_of_range_are_refused)
{
    const struct log_op bad[] = {
        {LOG_OP_PART, 0, 0, 1, 48, 16, 1},                  /* a part uses no seqs */
        {LOG_OP_PART, LOG_OP_FIXED, 0, 0, 48, 16, 1},
        {LOG_OP_PART, 0, 0, 0, LOG_OP_HEADER_BYTES, 16, 1}, /* and is not empty */
        {LOG_OP_PART, 0, 0, 0, 48, 8, 1},                   /* nor longer than all of them */
        {LOG_OP_PART, 0, 0, 0, 48, 17, 1},
        {LOG_OP_END, 0, 1, 0, LOG_END_BYTES, 0, 1},         /* an end has rows */
        {LOG_OP_END, 0, 1, 1, LOG_END_BYTES + 8, 0, 1},
        {LOG_OP_END, 0, 1, 1, LOG_END_BYTES, 8, 1},
        {LOG_OP_NOTHING, 0, 0, 0, 32, 0, 0},
        {LOG_OP_NOTHING, LOG_OP_FIXED, 0, 1, 32, 0, 0},
        {LOG_OP_NOTHING + 1, 0, 0, 1, 32, 0, 0},
        {LOG_OP_PUT, 0, 1, 0, 32, 0, 1},
    };
    for (unsigned i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        uint8_t bytes[LOG_OP_HEADER_BYTES];
        struct log_op decoded;
        log_op_encode(bytes, &bad[i]);
        cr_assert(!log_op_decode(bytes, 1 << 20, &decoded), "case %u", i);
    }
}

struct setting {
    struct memory *memory;
    struct recover_parts parts;
    uint8_t piece[64];
};

static void begin(struct setting *setting)
{
    memset(setting, 0, sizeof *setting);
    cr_assert_eq(memory_create(1 << 20, false, &setting->memory), MOTE_OK);
    cr_assert_eq(memory_seal(setting->memory), MOTE_OK);
}

static void end(struct setting *setting)
{
    recover_parts_free(&setting->parts, setting->memory);
    memory_destroy(setting->memory);
}

static int add(struct setting *setting, uint64_t incarnation, uint64_t batch_id, uint32_t number, uint32_t piece_bytes, uint32_t total_bytes)
{
    struct log_op op = part(batch_id, number, piece_bytes, total_bytes);
    memset(setting->piece, (int)(batch_id * 16 + number), sizeof setting->piece);
    return recover_parts_add(&setting->parts, setting->memory, incarnation, &op, setting->piece);
}

Test(log_parts, a_batch_is_complete_with_all_its_parts)
{
    struct setting setting;
    begin(&setting);
    cr_assert(!recover_parts_complete(&setting.parts, 0, 0, 0));
    for (uint32_t i = 0; i < 3; i++) {
        cr_assert(!recover_parts_complete(&setting.parts, 5, 3, 48));
        cr_assert_eq(add(&setting, 1, 5, i, 16, 48), MOTE_OK);
    }
    cr_assert(recover_parts_complete(&setting.parts, 5, 3, 48));
    cr_assert(!recover_parts_complete(&setting.parts, 6, 3, 48));
    cr_assert(!recover_parts_complete(&setting.parts, 5, 2, 48));
    cr_assert(!recover_parts_complete(&setting.parts, 5, 3, 40));
    for (uint32_t i = 0; i < 48; i++)
        cr_assert_eq(setting.parts.bytes[i], 5 * 16 + i / 16);
    recover_parts_drop(&setting.parts);
    cr_assert(!recover_parts_complete(&setting.parts, 5, 3, 48));
    end(&setting);
}

Test(log_parts, a_batch_that_did_not_end_gives_way)
{
    struct setting setting;
    begin(&setting);
    cr_assert_eq(add(&setting, 1, 5, 0, 16, 64), MOTE_OK);
    cr_assert_eq(add(&setting, 1, 5, 1, 16, 64), MOTE_OK);
    cr_assert_eq(add(&setting, 1, 6, 0, 32, 32), MOTE_OK); /* logged anew */
    cr_assert(recover_parts_complete(&setting.parts, 6, 1, 32));
    cr_assert_eq(add(&setting, 2, 6, 0, 16, 32), MOTE_OK); /* the same number of another incarnation */
    cr_assert_eq(add(&setting, 1, 6, 1, 16, 32), MOTE_OK);
    cr_assert(!recover_parts_complete(&setting.parts, 6, 2, 32));
    end(&setting);
}

Test(log_parts, what_does_not_follow_is_no_batch)
{
    struct setting setting;
    begin(&setting);
    cr_assert_eq(add(&setting, 1, 5, 1, 16, 32), MOTE_OK); /* the first was lost */
    cr_assert(!recover_parts_complete(&setting.parts, 5, 2, 32));
    cr_assert_eq(add(&setting, 1, 5, 0, 16, 48), MOTE_OK);
    cr_assert_eq(add(&setting, 1, 5, 2, 16, 48), MOTE_OK); /* the second was */
    cr_assert(!recover_parts_complete(&setting.parts, 5, 3, 48));
    cr_assert_eq(add(&setting, 1, 5, 0, 16, 24), MOTE_OK);
    cr_assert_eq(add(&setting, 1, 5, 1, 16, 24), MOTE_EDAMAGED); /* more than all together */
    cr_assert_eq(add(&setting, 1, 0, 0, 16, 24), MOTE_EDAMAGED);
    cr_assert_eq(add(&setting, 1, 7, 0, 16, 1u << 31), MOTE_EBUDGET);
    end(&setting);
}

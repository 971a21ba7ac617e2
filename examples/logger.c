/* logger.c: the smallest logger: ten seconds of a joint at 1 kHz into a table, in batches of 100 rows that are made
 * durable in the background.
 *
 *     mote format --size 64M arm.img && ./logger arm.img
 */
#include <math.h>
#include <mote.h>
#include <stdio.h>

enum { ROWS = 10000, BATCH = 100 };

static int fail(const char *what)
{
    struct mote_error error = {0};
    mote_last_error(&error);
    fprintf(stderr, "%s: %s\n", what, error.message);
    return 1;
}

int main(int argc, char **argv)
{
    mote_db *db;
    mote_table *joints;
    if (argc != 2 || mote_open(argv[1], NULL, &db, NULL))
        return fail("open");
    const struct mote_column_definition columns[] = {{.name = "time", .type = MOTE_TYPE_TIMESTAMP},
                                                     {.name = "q1", .type = MOTE_TYPE_FLOAT64}};
    const uint32_t key = 0;
    struct mote_schema schema = {sizeof schema, "joints", columns, 2, 0, &key, 1, 0};
    if (mote_table_create(db, &schema, &joints))
        return fail("create");
    uint64_t ticket = 0;
    for (int row = 0; row < ROWS; row += BATCH) {
        int64_t time_ns[BATCH];
        double q1[BATCH];
        for (int i = 0; i < BATCH; i++) {
            time_ns[i] = (row + i) * 1000000LL;
            q1[i] = sin((double)time_ns[i] * 1e-9);
        }
        const struct mote_column batch_columns[] = {{.type = MOTE_TYPE_TIMESTAMP, .values = time_ns},
                                                    {.type = MOTE_TYPE_FLOAT64, .values = q1}};
        const struct mote_batch batch = {.row_count = BATCH, .column_count = 2, .columns = batch_columns};
        if (mote_append_columns(joints, &batch, NULL, &ticket)) /* readable now, durable when the ticket says so */
            return fail("append");
    }
    if (mote_wait(db, ticket, MOTE_FOREVER)) /* every earlier ticket is covered by the last one */
        return fail("wait");
    printf("%d rows durable\n", ROWS);
    return mote_close(db) ? fail("close") : 0;
}

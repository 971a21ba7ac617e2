/* finder.c: what a robot saw, found again: detections with a place, a label and an embedding, asked by all of them at once. The image file is made.
 *
 *     ./finder seen.img
 */
#include <mote.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DETECTIONS = 20000, DIMENSION = 16 };

static void check(int result)
{
    if (result >= 0)
        return;
    struct mote_error error;
    mote_last_error(&error);
    fprintf(stderr, "%s\n", error.message);
    exit(1);
}

/* The index of one column. */
static void declare(mote_table *table, const char *name, uint32_t kind, uint32_t column)
{
    struct mote_index_options options = MOTE_INDEX_OPTIONS_INIT;
    options.name = name;
    options.kind = kind;
    options.columns = &column;
    options.column_count = 1;
    options.language = kind == MOTE_INDEX_TEXT ? "english" : NULL;
    check(mote_index_create(table, &options));
}

static mote_table *make_table(mote_db *db)
{
    const struct mote_column_definition columns[] = {{.name = "time", .type = MOTE_TYPE_TIMESTAMP}, {.name = "place", .type = MOTE_TYPE_POINT3}, {.name = "label", .type = MOTE_TYPE_TEXT}, {.name = "looks", .type = MOTE_TYPE_VECTOR_F32, .dimension = DIMENSION}};
    const uint32_t key = 0;
    struct mote_schema schema = MOTE_SCHEMA_INIT;
    schema.name = "detections";
    schema.columns = columns;
    schema.column_count = 4;
    schema.key_columns = &key;
    schema.key_column_count = 1;
    schema.time_column = 0;
    mote_table *table;
    check(mote_table_create(db, &schema, &table));
    declare(table, "where", MOTE_INDEX_SPATIAL, 1);
    declare(table, "said", MOTE_INDEX_TEXT, 2);
    declare(table, "alike", MOTE_INDEX_VECTOR, 3);
    return table;
}

static void embed(int thing, int view, float *vector)
{
    for (int i = 0; i < DIMENSION; i++)
        vector[i] = sinf((float)(thing * 7 + i * (thing + 3))) + 0.05f * cosf((float)(view * (i + 1)));
}

static void append(mote_table *table, int number)
{
    static const char *const labels[] = {"a red cup on the table", "two blue cups", "an open drawer", "the door of the cabinet", "a screwdriver, red handle"};
    int thing = number % 5;
    float vector[DIMENSION];
    embed(thing, number, vector);
    const char *label = labels[thing];
    const struct mote_value row[] = {{.type = MOTE_TYPE_TIMESTAMP, .as.i64 = (int64_t)number * 10000000},
                                     {.type = MOTE_TYPE_POINT3, .as.point = {2 * sin(number * 0.01), 2 * cos(number * 0.01), 0.1 * thing}},
                                     {.type = MOTE_TYPE_TEXT, .as.bytes = {label, strlen(label)}},
                                     {.type = MOTE_TYPE_VECTOR_F32, .as.bytes = {vector, sizeof vector}}};
    check(mote_append(table, row, 4, NULL, NULL));
}

int main(int argc, char **argv)
{
    struct mote_format_options format = MOTE_FORMAT_OPTIONS_INIT;
    mote_db *db;
    mote_hits *hits;
    struct mote_hit_chunk chunk;
    float wanted[DIMENSION];
    if (argc != 2) {
        fprintf(stderr, "usage: finder PATH\n");
        return 2;
    }
    format.image_size_bytes = 256u << 20;
    check(mote_format(argv[1], &format, NULL));
    check(mote_open(argv[1], NULL, &db, NULL));
    mote_table *table = make_table(db);
    for (int i = 0; i < DETECTIONS; i++)
        append(table, i);
    check(mote_flush(db)); /* builds the indexes; a search need not wait for that: what no index has yet is looked at row by row */

    /* Something like thing 0, that was called a red cup, within half a metre of the gripper, in the first minute: the five most alike. */
    embed(0, 1, wanted);
    const struct mote_term terms[] = {{.kind = MOTE_TERM_VECTOR, .vector = wanted, .dimension = DIMENSION}, {.kind = MOTE_TERM_WORDS, .words = "red cups"}, {.kind = MOTE_TERM_RADIUS, .centre = {2, 0, 0}, .radius = 0.5}};
    struct mote_search_options options = MOTE_SEARCH_OPTIONS_INIT;
    options.terms = terms;
    options.term_count = 3;
    options.limit = 5;
    options.use_time_range = 1;
    options.time_from_ns = 0;
    options.time_to_ns = 60000000000;
    check(mote_search(table, &options, &hits));
    while (mote_hits_next(hits, &chunk) == MOTE_OK && chunk.row_count > 0)
        for (size_t row = 0; row < chunk.row_count; row++) {
            const struct mote_column *label = &chunk.columns[2];
            const double *place = (const double *)chunk.columns[1].values + 3 * row;
            printf("%.2f s  (%.2f, %.2f, %.2f)  %.*s  distance %.3f\n", (double)((const int64_t *)chunk.columns[0].values)[row] / 1e9, place[0], place[1], place[2],
                   (int)(label->offsets[row + 1] - label->offsets[row]), (const char *)label->values + label->offsets[row], chunk.scores[row]);
        }
    fputs(mote_hits_explain(hits), stderr);
    mote_hits_close(hits);
    check(mote_close(db));
    return 0;
}

/* index_spatial.c: the spatial index as a declared index: from blocks of columns to points. Threads and failures: those of index/spatial.h. */
#include <math.h>
#include <string.h>

#include "blockdev/section_tally.h"
#include "engine/index_type.h"
#include "index/spatial.h"

struct spatial_rows {
    struct memory *memory;
    struct spatial_builder *builder;
    uint64_t count;
};

static struct spatial_rows *rows_of(struct row_index *index) { return (struct spatial_rows *)(void *)index; }

static uint64_t builder_bytes(const uint8_t *options, uint32_t options_bytes, uint64_t rows_max)
{
    (void)options;
    (void)options_bytes;
    return spatial_builder_bytes(rows_max);
}

static int create(struct memory *memory, const uint8_t *options, uint32_t options_bytes, uint64_t rows_max, struct row_index **builder)
{
    (void)options;
    (void)options_bytes;
    struct spatial_rows *rows = memory_alloc_zero(memory, sizeof *rows);
    if (!rows)
        return MOTE_EBUDGET;
    rows->memory = memory;
    int result = spatial_builder_create(memory, rows_max, &rows->builder);
    if (result) {
        memory_free(memory, rows);
        return result;
    }
    *builder = (struct row_index *)(void *)rows;
    return MOTE_OK;
}

static void destroy(struct row_index *index)
{
    struct spatial_rows *rows = rows_of(index);
    if (!rows)
        return;
    spatial_builder_destroy(rows->builder);
    memory_free(rows->memory, rows);
}

static bool has_value(const struct codec_vector *column, uint32_t row) { return !column->validity || (column->validity[row / 8] >> row % 8 & 1); }

/* The row's point; false: it has none. */
static bool point_of(const struct codec_vector *columns, uint32_t column_count, uint32_t row, double point[3])
{
    for (uint32_t i = 0; i < column_count; i++)
        if (!has_value(&columns[i], row))
            return false;
    if (column_count == 1)
        memcpy(point, (const double *)columns[0].values + 3 * (size_t)row, 3 * sizeof *point);
    for (uint32_t i = 0; i < 3 && column_count == 3; i++)
        point[i] = ((const double *)columns[i].values)[row];
    return !isnan(point[0]) && !isnan(point[1]) && !isnan(point[2]);
}

static int add(struct row_index *index, uint32_t first_ordinal, const struct codec_vector *columns, uint32_t column_count, const uint8_t *deleted)
{
    struct spatial_rows *rows = rows_of(index);
    int result = MOTE_OK;
    for (uint32_t row = 0; row < columns[0].count && !result; row++) {
        double point[3];
        if ((deleted && deleted[row]) || !point_of(columns, column_count, row, point))
            continue;
        result = spatial_builder_add(rows->builder, first_ordinal + row, point);
        rows->count++;
    }
    return result;
}

static uint64_t section_bytes_bound(const struct row_index *index) { return spatial_bytes_bound(((const struct spatial_rows *)(const void *)index)->count); }

static int finish(struct row_index *index, const struct section_identity *identity, const struct section_sink *sink, struct section_root *root)
{
    return spatial_builder_finish(rows_of(index)->builder, identity, sink, root);
}

static int verify(const struct section_identity *identity, const struct section_root *root, const struct section_source *source, struct memory *memory, uint64_t row_count)
{
    struct spatial_section section = {identity, root, source, memory};
    return spatial_verify(&section, row_count);
}

/* ---- Comparing a section with its rows ---- */

static void tally_point(struct section_tally *tally, uint32_t ordinal, const double point[3])
{
    struct section_entry entry = section_entry_of(ordinal);
    section_entry_add_bytes(&entry, point, 3 * sizeof *point);
    section_tally_add(tally, &entry);
}

static int tally_hits(void *context, const struct spatial_hits *hits)
{
    for (uint32_t i = 0; i < hits->count; i++)
        tally_point(context, hits->ordinals[i], hits->points[i]);
    return MOTE_OK;
}

static int tally_section(const uint8_t *options, uint32_t options_bytes, const struct section_identity *identity, const struct section_root *root, const struct section_source *source, struct memory *memory, struct section_tally *tally)
{
    const struct spatial_section section = {identity, root, source, memory};
    const double min[3] = {-INFINITY, -INFINITY, -INFINITY}, max[3] = {INFINITY, INFINITY, INFINITY};
    (void)options;
    (void)options_bytes;
    return spatial_search_box(&section, min, max, tally_hits, tally);
}

static int create_audit(struct memory *memory, const uint8_t *options, uint32_t options_bytes, struct row_audit **audit)
{
    (void)memory;
    (void)options;
    (void)options_bytes;
    *audit = NULL; /* points need nothing that is kept */
    return MOTE_OK;
}

static void destroy_audit(struct row_audit *audit) { (void)audit; }

static int tally_rows(struct row_audit *audit, uint32_t first_ordinal, const struct codec_vector *columns, uint32_t column_count, const uint8_t *deleted, struct section_tally *tally)
{
    (void)audit;
    for (uint32_t row = 0; row < columns[0].count; row++) {
        double point[3];
        if ((!deleted || !deleted[row]) && point_of(columns, column_count, row, point))
            tally_point(tally, first_ordinal + row, point);
    }
    return MOTE_OK;
}

static const struct row_index_audit audit = {.entry = "place", .tally_section = tally_section, .create = create_audit, .tally_rows = tally_rows, .destroy = destroy_audit};

double spatial_distance(const double centre[3], const double point[3])
{
    double square[3];
    for (unsigned i = 0; i < 3; i++) {
        double difference = isinf(point[i]) && point[i] == centre[i] ? 0 : point[i] - centre[i];
        square[i] = difference * difference;
    }
    return square[0] + square[1] + square[2];
}

const struct row_index_ops spatial_row_index_ops = {
    .kind = INDEX_SPATIAL,
    .builder_bytes = builder_bytes,
    .create = create,
    .add = add,
    .section_bytes_bound = section_bytes_bound,
    .finish = finish,
    .destroy = destroy,
    .verify = verify,
    .audit = &audit,
};

/* ---- Declaring ---- */

static int declare(const struct schema *schema, const struct mote_index_options *options, struct manifest_index *index)
{
    (void)index;
    bool point = options->column_count == 1 && schema->columns[options->columns[0]].type == MOTE_TYPE_POINT3;
    bool axes = options->column_count == 3;
    for (size_t i = 0; i < options->column_count && axes; i++)
        axes = schema->columns[options->columns[i]].type == MOTE_TYPE_FLOAT64;
    return point || axes ? MOTE_OK : error_set(MOTE_EINVAL, "a spatial index of table %s needs one point3 column or three float64 columns", schema->name);
}

const struct index_type spatial_index_type = {.rows = &spatial_row_index_ops, .name = "spatial", .declare = declare};

/* index_vector.c: the vector index as a declared index: from blocks of columns to vectors. A flush and a compaction make a flat section, which costs no more than writing; the graph comes in steps afterwards, where there are rows enough for
 * one and memory for its building.
 *
 * Options in the manifest, little-endian: 0 version (1), 4 metric, 8 degree, 12 list of the build, 16 dimension; 4 bytes each. Rows whose vector is NULL or not finite in every element are in no section.
 * Threads and failures: those of index/vector.h.
 */
#include <math.h>
#include <string.h>

#include "blockdev/base/bytes.h"
#include "blockdev/section_tally.h"
#include "engine/index_type.h"
#include "engine/vector_options.h"

#define OPTIONS_VERSION 1u
#define OPTIONS_BYTES 20u

bool vector_options_load(const uint8_t *bytes, uint32_t byte_count, struct vector_options *options)
{
    *options = (struct vector_options){.size_bytes = sizeof *options, .seed = 1};
    if (byte_count != OPTIONS_BYTES || load_u32(bytes) != OPTIONS_VERSION)
        return false;
    uint32_t metric = load_u32(bytes + 4);
    options->metric = (enum vector_metric)metric;
    options->degree = load_u32(bytes + 8);
    options->build_list = load_u32(bytes + 12);
    options->dimension = load_u32(bytes + 16);
    return metric >= VECTOR_L2 && metric <= VECTOR_COSINE && options->degree >= 4 && options->degree <= VECTOR_DEGREE_MAX && options->build_list >= 8 && options->build_list <= 1024 && options->dimension >= 1 &&
           options->dimension <= MOTE_VECTOR_DIMENSION_MAX;
}

static int refuse_options(void) { return error_set(MOTE_EVERSION, "the options of a vector index are of another version of mote; drop the index and create it anew"); }

/* ---- Building ---- */

struct vector_rows {
    struct memory *memory;
    struct vector_builder *builder;
    struct vector_options options;
    float *vector;
    uint64_t count;
    int (*fetch)(void *context, uint32_t ordinal, const struct codec_vector **columns, uint32_t *row);
    void *fetch_context;
};

static struct vector_rows *rows_of(struct row_index *index) { return (struct vector_rows *)(void *)index; }

static void destroy(struct row_index *index)
{
    struct vector_rows *rows = rows_of(index);
    if (!rows)
        return;
    vector_builder_destroy(rows->builder);
    memory_free(rows->memory, rows->vector);
    memory_free(rows->memory, rows);
}

static void load_vector(const struct codec_vector *column, uint32_t row, uint32_t dimension, float *vector)
{
    memcpy(vector, (const uint8_t *)column->values + (size_t)row * dimension * sizeof(float), dimension * sizeof(float));
}

static int fetch_row(void *context, uint32_t position, uint32_t ordinal, float *vector)
{
    struct vector_rows *rows = context;
    const struct codec_vector *columns;
    uint32_t row;
    (void)position;
    int result = rows->fetch(rows->fetch_context, ordinal, &columns, &row);
    if (!result)
        load_vector(columns, row, rows->options.dimension, vector);
    return result;
}

static int create_rows(struct memory *memory, const struct vector_options *options, uint64_t rows_max, struct vector_rows *template, struct row_index **builder)
{
    struct vector_rows *rows = memory_alloc(memory, sizeof *rows);
    if (!rows)
        return MOTE_EBUDGET;
    *rows = *template;
    rows->memory = memory;
    rows->options = *options;
    if (rows->fetch) {
        rows->options.fetch = fetch_row;
        rows->options.fetch_context = rows;
    }
    rows->vector = memory_alloc(memory, options->dimension * sizeof(float));
    int result = rows->vector ? vector_builder_create(memory, &rows->options, rows_max, &rows->builder) : MOTE_EBUDGET;
    *builder = (struct row_index *)(void *)rows;
    if (result) {
        destroy(*builder);
        *builder = NULL;
    }
    return result;
}

static uint64_t graph_bytes(struct vector_options options, uint64_t rows)
{
    options.fetch = fetch_row;
    return vector_builder_bytes(&options, rows);
}

/* Of the flat section that is made with the rows, which it keeps until then; and of the graph that comes after it: no segment is made that could not have one. */
static uint64_t builder_bytes(const uint8_t *bytes, uint32_t byte_count, uint64_t rows_max)
{
    struct vector_options options;
    if (!vector_options_load(bytes, byte_count, &options))
        return 0;
    uint64_t graph = graph_bytes(options, rows_max);
    options.rows_flat_max = UINT32_MAX;
    uint64_t flat = vector_builder_bytes(&options, rows_max);
    return flat > graph ? flat : graph;
}

static int create(struct memory *memory, const uint8_t *bytes, uint32_t byte_count, uint64_t rows_max, struct row_index **builder)
{
    struct vector_options options;
    if (!vector_options_load(bytes, byte_count, &options))
        return refuse_options();
    options.rows_flat_max = UINT32_MAX;
    return create_rows(memory, &options, rows_max, &(struct vector_rows){0}, builder);
}

static bool has_value(const struct codec_vector *column, uint32_t row) { return !column->validity || (column->validity[row / 8] >> row % 8 & 1); }

static bool is_finite(const float *vector, uint32_t dimension)
{
    bool finite = true;
    for (uint32_t i = 0; i < dimension; i++)
        finite &= isfinite(vector[i]) != 0;
    return finite;
}

static int add(struct row_index *index, uint32_t first_ordinal, const struct codec_vector *columns, uint32_t column_count, const uint8_t *deleted)
{
    struct vector_rows *rows = rows_of(index);
    uint32_t dimension = rows->options.dimension;
    int result = MOTE_OK;
    assert(column_count == 1);
    for (uint32_t row = 0; row < columns->count && !result; row++) {
        if ((deleted && deleted[row]) || !has_value(columns, row))
            continue;
        load_vector(columns, row, dimension, rows->vector);
        if (!is_finite(rows->vector, dimension))
            continue;
        result = vector_builder_add(rows->builder, first_ordinal + row, rows->vector);
        rows->count++;
    }
    return result;
}

static uint64_t section_bytes_bound(const struct row_index *index)
{
    const struct vector_rows *rows = (const struct vector_rows *)(const void *)index;
    return vector_bytes_bound(&rows->options, rows->count);
}

static int finish(struct row_index *index, const struct section_identity *identity, const struct section_sink *sink, struct section_root *root)
{
    return vector_builder_finish(rows_of(index)->builder, identity, sink, root);
}

static int verify(const struct section_identity *identity, const struct section_root *root, const struct section_source *source, struct memory *memory, uint64_t row_count)
{
    struct vector_section section = {identity, root, source, memory};
    return vector_verify(&section, row_count, NULL);
}

/* ---- Comparing a section with its rows ---- */

struct vector_audit {
    struct memory *memory;
    struct vector_options options;
    float *vector, *accepted;
};

static void tally_vector(struct section_tally *tally, uint32_t ordinal, const float *vector, uint32_t dimension)
{
    struct section_entry entry = section_entry_of(ordinal);
    if (!section_tally_wants(tally, ordinal))
        return;
    section_entry_add_bytes(&entry, vector, dimension * sizeof *vector);
    section_tally_add(tally, &entry);
}

struct vector_tallying {
    struct section_tally *tally;
    uint32_t dimension;
};

static int tally_kept(void *context, uint32_t ordinal, const float *vector)
{
    const struct vector_tallying *tallying = context;
    tally_vector(tallying->tally, ordinal, vector, tallying->dimension);
    return MOTE_OK;
}

static int tally_section(const uint8_t *bytes, uint32_t byte_count, const struct section_identity *identity, const struct section_root *root, const struct section_source *source, struct memory *memory, struct section_tally *tally)
{
    const struct vector_section section = {identity, root, source, memory};
    struct vector_options options;
    struct vector_index *index;
    struct vector_facts facts;
    int result = vector_options_load(bytes, byte_count, &options) ? vector_open(&section, 0, &index) : refuse_options();
    if (result)
        return result;
    struct vector_tallying tallying = {tally, options.dimension};
    vector_describe(index, &facts);
    if (facts.dimension != options.dimension || facts.metric != options.metric)
        result = error_set(MOTE_EDAMAGED, "a section of a vector index has vectors of another dimension or metric than the index");
    if (!result)
        result = vector_visit(index, tally_kept, &tallying);
    vector_close(index);
    return result;
}

static void destroy_audit(struct row_audit *audit)
{
    struct vector_audit *vectors = (struct vector_audit *)(void *)audit;
    if (!vectors)
        return;
    memory_free(vectors->memory, vectors->vector);
    memory_free(vectors->memory, vectors);
}

static int create_audit(struct memory *memory, const uint8_t *bytes, uint32_t byte_count, struct row_audit **audit)
{
    struct vector_audit *made = memory_alloc_zero(memory, sizeof *made);
    *audit = (struct row_audit *)(void *)made;
    if (!made)
        return MOTE_EBUDGET;
    made->memory = memory;
    if (!vector_options_load(bytes, byte_count, &made->options))
        return refuse_options();
    made->vector = memory_alloc(memory, 2 * (size_t)made->options.dimension * sizeof *made->vector);
    if (!made->vector)
        return MOTE_EBUDGET;
    made->accepted = made->vector + made->options.dimension;
    return MOTE_OK;
}

static int tally_rows(struct row_audit *audit, uint32_t first_ordinal, const struct codec_vector *columns, uint32_t column_count, const uint8_t *deleted, struct section_tally *tally)
{
    const struct vector_audit *vectors = (const struct vector_audit *)(const void *)audit;
    uint32_t dimension = vectors->options.dimension;
    assert(column_count == 1);
    (void)column_count;
    for (uint32_t row = 0; row < columns->count; row++) {
        if ((deleted && deleted[row]) || !has_value(columns, row) || !section_tally_wants(tally, first_ordinal + row))
            continue;
        load_vector(columns, row, dimension, vectors->vector);
        if (vector_accept(vectors->options.metric, vectors->vector, dimension, vectors->accepted))
            tally_vector(tally, first_ordinal + row, vectors->accepted, dimension);
    }
    return MOTE_OK;
}

static const struct row_index_audit audit = {.entry = "vector", .tally_section = tally_section, .create = create_audit, .tally_rows = tally_rows, .destroy = destroy_audit};

/* ---- In steps ---- */

static bool may_have_graph(const struct vector_options *options, uint64_t row_count, uint64_t memory_bytes_max) { return row_count > VECTOR_FLAT_DEFAULT && graph_bytes(*options, row_count) <= memory_bytes_max; }

static int is_due(const uint8_t *bytes, uint32_t byte_count, const struct section_identity *identity, const struct section_root *root, const struct section_source *source, struct memory *memory, uint64_t row_count,
                  uint64_t memory_bytes_max, bool *due)
{
    struct vector_section section = {identity, root, source, memory};
    struct vector_options options;
    struct vector_facts facts;
    *due = false;
    if (!vector_options_load(bytes, byte_count, &options) || !may_have_graph(&options, row_count, memory_bytes_max))
        return MOTE_OK;
    int result = vector_peek(&section, &facts);
    *due = !result && facts.flat && facts.rows > VECTOR_FLAT_DEFAULT;
    return result;
}

static int create_steps(struct memory *memory, const uint8_t *bytes, uint32_t byte_count, uint64_t rows_max, uint64_t memory_bytes_max, int (*fetch)(void *, uint32_t, const struct codec_vector **, uint32_t *), void *fetch_context,
                        struct row_index **builder)
{
    struct vector_options options;
    if (!vector_options_load(bytes, byte_count, &options))
        return refuse_options();
    options.rows_flat_max = may_have_graph(&options, rows_max, memory_bytes_max) ? VECTOR_FLAT_DEFAULT : UINT32_MAX;
    return create_rows(memory, &options, rows_max, &(struct vector_rows){.fetch = fetch, .fetch_context = fetch_context}, builder);
}

static int begin(struct row_index *index, const struct section_identity *identity, const struct section_sink *sink) { return vector_builder_begin(rows_of(index)->builder, identity, sink); }
static int step(struct row_index *index, bool *finished) { return vector_builder_step(rows_of(index)->builder, 1, finished); }
static void root_of(const struct row_index *index, struct section_root *root) { vector_builder_root(((const struct vector_rows *)(const void *)index)->builder, root); }

static const struct row_index_steps steps = {.due = is_due, .create = create_steps, .begin = begin, .step = step, .root = root_of};

const struct row_index_ops vector_row_index_ops = {
    .kind = INDEX_VECTOR,
    .builder_bytes = builder_bytes,
    .create = create,
    .add = add,
    .section_bytes_bound = section_bytes_bound,
    .finish = finish,
    .destroy = destroy,
    .verify = verify,
    .steps = &steps,
    .audit = &audit,
};

/* ---- Declaring ---- */

static int declare(const struct schema *schema, const struct mote_index_options *options, struct manifest_index *index)
{
    const struct schema_column *column = &schema->columns[options->columns[0]];
    if (options->column_count != 1 || column->type != MOTE_TYPE_VECTOR_F32)
        return error_set(MOTE_EINVAL, "a vector index of table %s needs one column of float32 vectors", schema->name);
    uint32_t metric = options->metric ? options->metric : MOTE_METRIC_L2, degree = options->degree ? options->degree : VECTOR_DEGREE_DEFAULT;
    uint32_t build_list = options->build_list ? options->build_list : VECTOR_BUILD_LIST_DEFAULT;
    struct vector_options checked;
    store_u32(index->options, OPTIONS_VERSION);
    store_u32(index->options + 4, metric);
    store_u32(index->options + 8, degree);
    store_u32(index->options + 12, build_list);
    store_u32(index->options + 16, column->dimension);
    index->options_bytes = OPTIONS_BYTES;
    if (!vector_options_load(index->options, index->options_bytes, &checked))
        return error_set(MOTE_EINVAL, "a vector index of table %s cannot have metric %u, degree %u and build_list %u: a metric of 1 to 3, a degree of 4 to %d and a list of 8 to 1024 are possible", schema->name, metric, degree, build_list,
                         VECTOR_DEGREE_MAX);
    return MOTE_OK;
}

static void describe(const struct manifest_index *index, struct mote_index_info *info)
{
    struct vector_options options;
    if (!vector_options_load(index->options, index->options_bytes, &options))
        return;
    info->metric = (uint32_t)options.metric;
    info->degree = options.degree;
    info->build_list = options.build_list;
}

const struct index_type vector_index_type = {.rows = &vector_row_index_ops, .name = "vector", .declare = declare, .describe = describe};

/* write_set.c: gathering the rows of a write over several tables (write_set.h). */
#include "engine/write_set.h"

#include <stdlib.h>
#include <string.h>

#define CAPACITY_MIN 1024u
#define ROWS_MAX ((1u << 20) - 1) /* seqs of one reservation of the log */

void write_set_init(struct write_set *set, struct mote_db *db) { *set = (struct write_set){.db = db, .last_at = UINT64_MAX}; }

void write_set_clear(struct write_set *set)
{
    set->size_bytes = set->row_count = set->put_count = set->content_bytes = set->raw_bytes = set->insert_count = 0;
    blobs_release(set->db, &set->blobs);
    set->table_count = 0;
    set->last_at = UINT64_MAX;
}

void write_set_free(struct write_set *set)
{
    struct memory *memory = set->db->memory;
    blobs_release(set->db, &set->blobs);
    memory_free(memory, set->ops);
    memory_free(memory, set->inserts);
    memory_free(memory, set->tables);
    write_set_init(set, set->db);
}

/* ---- Checks ---- */

int write_check_table(const struct mote_db *db, const struct mote_table *table)
{
    int result = table_check(table);
    if (!result && table->db != db)
        result = error_set(MOTE_EINVAL, "the table is of another database");
    return result;
}

int write_check_row(struct mote_table *table, const struct mote_value *values, size_t value_count, const struct schema **schema, uint32_t *image_bytes, int64_t *rowid)
{
    *schema = atomic_load_explicit(&table->schema, memory_order_acquire);
    if (!values && value_count)
        return error_set(MOTE_EINVAL, "values is NULL");
    int result = row_check_values(*schema, values, value_count, image_bytes);
    if (result)
        return result;
    bool takes = (*schema)->auto_increment && row_values_take_rowid(*schema, values, value_count);
    *rowid = takes ? atomic_fetch_add_explicit(&table->next_rowid, 1, memory_order_relaxed) : 0;
    return MOTE_OK;
}

int write_set_check_size(const struct mote_db *db, uint64_t row_count, uint64_t content_bytes, uint64_t ops_bytes)
{
    uint64_t memtable_bytes = memtable_room_bytes(row_count, content_bytes), memtable_max = db->options.memtable_bytes / 4;
    uint64_t log_max = db->superblock.layout.log_bytes_max / 4, frame_max = wal_payload_bytes_max(db->wal);
    if (log_max < frame_max)
        log_max = frame_max;
    if (row_count > ROWS_MAX)
        return error_set(MOTE_ETOOBIG, "a write of %llu rows has more than the %u that one step may have: make it smaller", (unsigned long long)row_count, ROWS_MAX);
    if (memtable_bytes > memtable_max)
        return error_set(MOTE_ETOOBIG, "a write of %llu rows needs %llu bytes of the memtable, and may have a quarter of its %llu: make it smaller, or raise memtable_bytes", (unsigned long long)row_count,
                         (unsigned long long)memtable_bytes, (unsigned long long)db->options.memtable_bytes);
    if (ops_bytes > log_max || ops_bytes > UINT32_MAX - 8)
        return error_set(MOTE_ETOOBIG, "a write of %llu rows takes %llu bytes of the log, and may take %llu: make it smaller", (unsigned long long)row_count, (unsigned long long)ops_bytes, (unsigned long long)log_max);
    return MOTE_OK;
}

/* ---- Tables ---- */

struct write_table *write_set_table(struct write_set *set, const struct mote_table *table)
{
    for (uint32_t i = set->table_count; i-- > 0;)
        if (set->tables[i].table == table)
            return &set->tables[i];
    return NULL;
}

static int take_table(struct write_set *set, struct mote_table *table, struct write_table **out)
{
    *out = write_set_table(set, table);
    if (*out)
        return MOTE_OK;
    if (set->table_count == set->table_capacity) {
        uint32_t capacity = set->table_capacity ? 2 * set->table_capacity : 4;
        struct write_table *tables = memory_realloc(set->db->memory, set->tables, capacity * sizeof *tables);
        if (!tables)
            return MOTE_EBUDGET;
        set->tables = tables;
        set->table_capacity = capacity;
    }
    *out = &set->tables[set->table_count++];
    **out = (struct write_table){.table = table};
    return MOTE_OK;
}

static int compare_tables(const void *a, const void *b)
{
    const struct write_table *x = a, *y = b;
    return (x->table->id > y->table->id) - (x->table->id < y->table->id);
}

void write_set_sort_tables(struct write_set *set)
{
    if (set->table_count > 1)
        qsort(set->tables, set->table_count, sizeof *set->tables, compare_tables);
}

/* ---- Rows ---- */

static int reserve(struct write_set *set, uint64_t size_bytes)
{
    if (set->size_bytes + size_bytes <= set->capacity_bytes)
        return MOTE_OK;
    uint64_t capacity = set->capacity_bytes + set->capacity_bytes / 2 + CAPACITY_MIN;
    if (capacity < set->size_bytes + size_bytes)
        capacity = set->size_bytes + size_bytes;
    uint8_t *ops = memory_realloc(set->db->memory, set->ops, capacity);
    if (!ops)
        return MOTE_EBUDGET;
    set->ops = ops;
    set->capacity_bytes = capacity;
    return MOTE_OK;
}

static int reserve_insert(struct write_set *set)
{
    if (set->insert_count == set->insert_capacity) {
        uint64_t capacity = set->insert_capacity ? 2 * set->insert_capacity : 16;
        uint64_t *inserts = memory_realloc(set->db->memory, set->inserts, capacity * sizeof *inserts);
        if (!inserts)
            return MOTE_EBUDGET;
        set->inserts = inserts;
        set->insert_capacity = capacity;
    }
    return MOTE_OK;
}

/* What a row adds. */
struct addition {
    struct mote_table *table;
    const struct schema *schema;
    uint32_t kind;       /* LOG_OP_PUT, LOG_OP_DELETE */
    uint32_t item_bytes; /* of the image or key */
    uint32_t key_bytes;  /* at most */
    bool insert;
};

/* Whether the row goes on with the last operation. */
static bool continues(const struct write_set *set, const struct addition *addition, struct log_op *op)
{
    if (set->last_at == UINT64_MAX || !log_op_decode(set->ops + set->last_at, set->size_bytes - set->last_at, op))
        return false;
    return op->kind == addition->kind && op->table_id == addition->table->id && op->schema_version == addition->schema->version;
}

/* Room for the item, in the operation before it or a new one; nothing can fail after. */
static int add_item(struct write_set *set, const struct addition *addition, uint8_t **item)
{
    const struct schema *schema = addition->schema;
    bool fixed = addition->kind == LOG_OP_PUT && !schema->has_var, put = addition->kind == LOG_OP_PUT;
    uint32_t padded_bytes = (uint32_t)round_up(addition->item_bytes, 8), header_bytes = fixed ? 0 : LOG_ITEM_HEADER_BYTES;
    struct log_op op;
    struct write_table *of;
    bool goes_on = continues(set, addition, &op);
    uint64_t added_bytes = (goes_on ? 0 : LOG_OP_HEADER_BYTES) + header_bytes + padded_bytes, content_bytes = (put ? padded_bytes : 0) + round_up(addition->key_bytes, 8);
    int result = write_set_check_size(set->db, set->row_count + 1, set->content_bytes + content_bytes, set->size_bytes + added_bytes);
    if (!result)
        result = reserve(set, added_bytes);
    if (!result && addition->insert)
        result = reserve_insert(set);
    if (!result)
        result = take_table(set, addition->table, &of);
    if (result)
        return result;
    if (addition->insert)
        set->inserts[set->insert_count++] = set->row_count;
    uint8_t *at = set->ops + set->size_bytes;
    if (!goes_on) {
        op = (struct log_op){addition->kind, fixed ? LOG_OP_FIXED : 0u, schema->version, 0, LOG_OP_HEADER_BYTES, fixed ? addition->item_bytes : 0, addition->table->id};
        set->last_at = set->size_bytes;
        at += LOG_OP_HEADER_BYTES;
    }
    op.row_count++;
    op.op_bytes += header_bytes + padded_bytes;
    log_op_encode(set->ops + set->last_at, &op);
    if (!fixed) {
        store_u32(at, addition->item_bytes);
        store_u32(at + 4, 0);
        at += LOG_ITEM_HEADER_BYTES;
    }
    memset(at + addition->item_bytes, 0, padded_bytes - addition->item_bytes);
    *item = at;
    of->row_count++;
    of->put_count += put;
    of->key_bytes += addition->key_bytes;
    of->inserts = of->inserts || addition->insert;
    set->size_bytes += added_bytes;
    set->row_count++;
    set->put_count += put;
    set->content_bytes += content_bytes;
    set->raw_bytes += put ? addition->item_bytes : 0;
    return MOTE_OK;
}

static uint32_t key_bytes_max(const struct schema *schema) { return schema->key_bytes_fixed ? schema->key_bytes_fixed : MOTE_KEY_BYTES_MAX; }

int write_set_put(struct write_set *set, struct mote_table *table, const struct mote_value *values, size_t value_count, bool insert)
{
    struct addition addition = {.table = table, .kind = LOG_OP_PUT, .insert = insert};
    int64_t rowid = 0;
    uint8_t *item;
    int result = write_check_row(table, values, value_count, &addition.schema, &addition.item_bytes, &rowid);
    if (result)
        return result;
    /* A promise of the table, and a number that was just given out: there is nothing to check. */
    addition.insert = insert && !(addition.schema->flags & MOTE_TABLE_APPEND_ONLY) && rowid == 0;
    addition.key_bytes = key_bytes_max(addition.schema);
    result = add_item(set, &addition, &item);
    if (!result)
        row_encode_values(addition.schema, values, value_count, rowid, item, addition.item_bytes);
    return result;
}

int write_set_put_image(struct write_set *set, struct mote_table *table, const struct schema *schema, const uint8_t *image, uint32_t image_bytes)
{
    struct addition addition = {.table = table, .schema = schema, .kind = LOG_OP_PUT, .item_bytes = image_bytes, .key_bytes = key_bytes_max(schema)};
    uint8_t *item;
    int result = add_item(set, &addition, &item);
    if (!result)
        memcpy(item, image, image_bytes);
    return result;
}

int write_set_delete_key(struct write_set *set, struct mote_table *table, const struct schema *schema, const uint8_t *key, uint32_t key_bytes)
{
    struct addition addition = {.table = table, .schema = schema, .kind = LOG_OP_DELETE, .item_bytes = key_bytes, .key_bytes = key_bytes};
    uint8_t *item;
    int result = add_item(set, &addition, &item);
    if (!result)
        memcpy(item, key, key_bytes);
    return result;
}

/* The set as it was before some rows. */
struct mark {
    struct write_set set;
    uint8_t op[LOG_OP_HEADER_BYTES];
    uint64_t table_rows, table_puts, table_key_bytes;
    bool table_inserts;
};

static void set_mark(struct write_set *set, const struct mote_table *table, struct mark *mark)
{
    const struct write_table *of = write_set_table(set, table);
    *mark = (struct mark){.set = *set};
    if (of) {
        mark->table_rows = of->row_count;
        mark->table_puts = of->put_count;
        mark->table_key_bytes = of->key_bytes;
        mark->table_inserts = of->inserts;
    }
    if (set->last_at != UINT64_MAX)
        memcpy(mark->op, set->ops + set->last_at, sizeof mark->op);
}

static void return_to_mark(struct write_set *set, const struct mote_table *table, const struct mark *mark)
{
    struct write_set before = mark->set;
    before.ops = set->ops;
    before.capacity_bytes = set->capacity_bytes;
    before.inserts = set->inserts;
    before.insert_capacity = set->insert_capacity;
    before.tables = set->tables;
    before.table_capacity = set->table_capacity;
    *set = before;
    struct write_table *of = write_set_table(set, table);
    if (of) {
        of->row_count = mark->table_rows;
        of->put_count = mark->table_puts;
        of->key_bytes = mark->table_key_bytes;
        of->inserts = mark->table_inserts;
    }
    if (set->last_at != UINT64_MAX)
        memcpy(set->ops + set->last_at, mark->op, sizeof mark->op);
}

static int add_batch(struct write_set *set, struct mote_table *table, const struct row_batch *prepared)
{
    const struct schema *schema = prepared->schema;
    int64_t rowid = schema->auto_increment ? atomic_fetch_add_explicit(&table->next_rowid, prepared->auto_increment_count, memory_order_relaxed) : 0;
    struct mark mark;
    set_mark(set, table, &mark);
    int result = MOTE_OK;
    for (size_t row = 0; row < prepared->batch->row_count && !result; row++) {
        struct addition addition = {.table = table, .schema = schema, .kind = LOG_OP_PUT, .item_bytes = row_batch_row_bytes(prepared, row), .key_bytes = key_bytes_max(schema)};
        uint8_t *item;
        result = add_item(set, &addition, &item);
        if (!result)
            row_batch_encode(prepared, row, rowid, item, addition.item_bytes);
        rowid += row_batch_takes_rowid(prepared, row);
    }
    if (result)
        return_to_mark(set, table, &mark);
    return result;
}

int write_set_columns(struct write_set *set, struct mote_table *table, const struct mote_batch *batch)
{
    struct row_batch prepared;
    if (!batch)
        return error_set(MOTE_EINVAL, "batch is NULL");
    if (batch->row_count > ROWS_MAX)
        return error_set(MOTE_ETOOBIG, "a write of %zu rows has more than the %u that one step may have: make it smaller", batch->row_count, ROWS_MAX);
    int result = row_batch_check(atomic_load_explicit(&table->schema, memory_order_acquire), batch, &prepared);
    return result ? result : add_batch(set, table, &prepared);
}

/* ---- Walking ---- */

void write_walk_begin(const struct write_set *set, struct write_walk *walk) { *walk = (struct write_walk){.set = set}; }

static void begin_op(struct write_walk *walk)
{
    const struct write_set *set = walk->set;
    struct log_op op;
    bool good = log_op_decode(set->ops + walk->at, set->size_bytes - walk->at, &op);
    assert(good); /* it was made here */
    (void)good;
    walk->left = op.row_count;
    walk->kind = op.kind;
    walk->flags = op.flags;
    walk->item_bytes = op.image_bytes;
    walk->item_at = walk->at + LOG_OP_HEADER_BYTES;
    walk->at += op.op_bytes;
    walk->table = catalog_find_id(set->db, op.table_id);
    walk->schema = table_schema_version(walk->table, op.schema_version);
    assert(walk->schema);
}

bool write_walk_next(struct write_walk *walk, struct write_row *row)
{
    const struct write_set *set = walk->set;
    if (walk->left == 0 && walk->at == set->size_bytes)
        return false;
    if (walk->left == 0)
        begin_op(walk);
    walk->left--;
    if (!(walk->flags & LOG_OP_FIXED)) {
        walk->item_bytes = load_u32(set->ops + walk->item_at);
        walk->item_at += LOG_ITEM_HEADER_BYTES;
    }
    const uint8_t *item = set->ops + walk->item_at;
    walk->item_at += round_up(walk->item_bytes, 8);
    row->number = walk->number++;
    row->table = walk->table;
    row->schema = walk->schema;
    row->kind = walk->kind;
    row->image = walk->kind == LOG_OP_PUT ? item : NULL;
    row->image_bytes = walk->kind == LOG_OP_PUT ? walk->item_bytes : 0;
    if (walk->kind == LOG_OP_PUT) {
        row->key_bytes = key_from_row(walk->schema, item, row->key);
    } else {
        row->key_bytes = walk->item_bytes;
        memcpy(row->key, item, walk->item_bytes);
    }
    row->insert = walk->next_insert < set->insert_count && set->inserts[walk->next_insert] == row->number;
    walk->next_insert += row->insert;
    return true;
}

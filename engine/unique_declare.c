/* unique_declare.c: which unique indexes a table has, and the declaration of one on a table that holds rows (unique.h).
 *
 * Declaring: writers are kept out by unique_mutex; those that began before, without asking, are waited for: the count of the index is raised first, and whoever enters a generation afterwards sees it and turns back, so that it is enough to
 * see each generation without writers once. Then all rows are looked at for duplicates, as often as the memory for their hashes makes necessary.
 * Failures: MOTE_EEXISTS, MOTE_EBUDGET, and those of a scan.
 */
#include <string.h>
#include <time.h>

#include "engine/index_type.h"
#include "engine/unique.h"
#include "index/column_index.h"
#include "wal/wal.h"

#define BUDGET_SHARE 16u
#define SETTLED_MAX 64u
#define POLL_NS 20000
#define POLLS_A_ROTATION 64u

void unique_lock(struct mote_table *table) { pthread_mutex_lock(&table->unique_mutex); }
void unique_unlock(struct mote_table *table) { pthread_mutex_unlock(&table->unique_mutex); }

/* ---- The set ---- */

static bool is_unique(const struct manifest_index *definition)
{
    struct mote_index_info info = {0};
    const struct index_type *type = index_type_find(definition->kind);
    if (type && type->describe)
        type->describe(definition, &info);
    return info.unique != 0;
}

static int add_index(struct mote_table *table, const struct manifest_index *definition)
{
    struct memory *memory = table->db->memory;
    if (!table->uniques)
        table->uniques = memory_alloc_zero(memory, sizeof *table->uniques);
    if (table->uniques && table->uniques->count == MANIFEST_TABLE_INDEXES_MAX)
        return error_set(MOTE_EBUDGET, "a table has at most %u indexes", MANIFEST_TABLE_INDEXES_MAX);
    struct unique_index *index = table->uniques ? memory_alloc_zero(memory, sizeof *index) : NULL;
    if (!index)
        return MOTE_EBUDGET;
    index->definition = *definition;
    index->recent.memory = memory;
    table->uniques->indexes[table->uniques->count++] = index;
    atomic_store(&table->unique_count, table->uniques->count);
    return MOTE_OK;
}

static void remove_index(struct mote_table *table, uint32_t number)
{
    struct unique_set *set = table->uniques;
    unique_map_free(&set->indexes[number]->recent);
    memory_free(table->db->memory, set->indexes[number]);
    set->indexes[number] = set->indexes[--set->count];
    atomic_store(&table->unique_count, set->count);
}

/* Names are the table's own: the id is known only when the manifest has the index. */
static bool find_definition(struct mote_table *table, struct unique_index *index)
{
    struct mote_db *db = table->db;
    bool found = false;
    pthread_mutex_lock(&db->index_mutex);
    for (uint32_t i = 0; i < db->index_count && !found; i++) {
        const struct manifest_index *definition = &db->indexes[i];
        found = definition->table_id == table->id && strcmp(definition->name, index->definition.name) == 0 && is_unique(definition);
        if (found)
            index->definition = *definition;
    }
    pthread_mutex_unlock(&db->index_mutex);
    return found;
}

void unique_settle(struct mote_table *table)
{
    struct unique_set *set = table->uniques;
    for (uint32_t i = 0; set && i < set->count;) {
        bool stays = find_definition(table, set->indexes[i]);
        for (uint32_t k = 0; k < i && stays; k++)
            stays = set->indexes[k]->definition.id != set->indexes[i]->definition.id;
        if (stays)
            i++;
        else
            remove_index(table, i);
    }
}

int uniques_load(struct mote_db *db)
{
    int result = MOTE_OK;
    for (uint32_t i = 0; i < db->index_count && !result; i++) {
        struct mote_table *table = is_unique(&db->indexes[i]) ? catalog_find_id(db, db->indexes[i].table_id) : NULL;
        if (table)
            result = add_index(table, &db->indexes[i]);
    }
    return result;
}

void uniques_free(struct mote_table *table)
{
    while (table->uniques && table->uniques->count > 0)
        remove_index(table, 0);
    memory_free(table->db->memory, table->uniques);
    table->uniques = NULL;
}

/* ---- Writers that did not ask ---- */

static void pause_shortly(void) { nanosleep(&(struct timespec){.tv_nsec = POLL_NS}, NULL); }

static int wait_for_writers(struct mote_db *db)
{
    for (uint32_t i = 0; i < db->generation_count; i++) {
        struct generation *generation = &db->generations[i];
        for (uint32_t polls = 1; atomic_load(&generation->writers) != 0; polls++) {
            int32_t poisoned = atomic_load(&db->poisoned);
            if (poisoned)
                return db_poison(db, 0);
            pause_shortly();
            /* Others write without a pause: a generation that is not the active one any more is left by all. */
            int result = polls % POLLS_A_ROTATION == 0 ? rotate(db, generation) : MOTE_OK;
            if (result)
                return result;
        }
    }
    /* They left before their rows were visible. */
    uint64_t last = wal_next_seq(db->wal) - 1;
    while (atomic_load(&db->visible_seq) < last && atomic_load(&db->visible_seq) < wal_next_seq(db->wal) - 1)
        pause_shortly();
    return MOTE_OK;
}

/* ---- Duplicates among the rows ---- */

struct duplicates {
    struct mote_table *table;
    struct memory *memory;
    uint32_t position;
    /* One of so many shares of all hashes at a time. */
    uint64_t *slots; /* hashes; 0: empty */
    uint64_t capacity, used, share, shares;
    /* A hash that came twice, of which one value after the other is compared with those behind it. */
    uint64_t hash;
    uint64_t passed, seen;
    struct mote_value reference; /* is_null: not met yet */
    uint8_t *bytes;
    bool repeated, doubled;
    uint64_t settled[SETTLED_MAX]; /* hashes that came twice, of different values */
    uint32_t settled_count;
    int result;
};

static struct mote_value value_of(const struct mote_column *column, size_t row)
{
    struct mote_value value = {.type = column->type};
    if (column->validity && !(column->validity[row / 8] >> row % 8 & 1)) {
        value.is_null = true;
    } else if (column->offsets) {
        value.as.bytes.data = (const uint8_t *)column->values + column->offsets[row];
        value.as.bytes.size_bytes = column->offsets[row + 1] - column->offsets[row];
    } else {
        size_t value_bytes = codec_value_bytes(column->type, 1);
        memcpy(&value.as, (const uint8_t *)column->values + row * value_bytes, value_bytes);
    }
    return value;
}

/* Calls visit with each value until it returns false. */
static int scan_values(struct duplicates *duplicates, bool (*visit)(struct duplicates *duplicates, const struct mote_value *value))
{
    struct mote_scan_options options = MOTE_SCAN_OPTIONS_INIT;
    struct mote_chunk chunk = {.row_count = 1};
    mote_cursor *cursor;
    bool on = true;
    options.columns = &duplicates->position;
    options.column_count = 1;
    int result = mote_scan(duplicates->table, &options, &cursor);
    if (result)
        return result;
    while (on && chunk.row_count > 0 && !(result = mote_cursor_next(cursor, &chunk)))
        for (size_t row = 0; row < chunk.row_count && on; row++) {
            struct mote_value value = value_of(&chunk.columns[0], row);
            on = value.is_null || visit(duplicates, &value);
        }
    mote_cursor_close(cursor);
    return result ? result : duplicates->result;
}

static bool visit_equal(struct duplicates *duplicates, const struct mote_value *value)
{
    if (unique_hash_value(value) != duplicates->hash || duplicates->seen++ < duplicates->passed)
        return true;
    if (!duplicates->reference.is_null) {
        duplicates->doubled = column_compare_values(&duplicates->reference, value) == 0;
        return !duplicates->doubled;
    }
    duplicates->reference = *value;
    if (value->type != MOTE_TYPE_TEXT && value->type != MOTE_TYPE_BLOB)
        return true;
    duplicates->bytes = memory_alloc(duplicates->memory, value->as.bytes.size_bytes + 1);
    if (!duplicates->bytes) {
        duplicates->result = MOTE_EBUDGET;
        return false;
    }
    if (value->as.bytes.size_bytes)
        memcpy(duplicates->bytes, value->as.bytes.data, value->as.bytes.size_bytes);
    duplicates->reference.as.bytes.data = duplicates->bytes;
    return true;
}

/* Whether two of the values with this hash are equal: each is compared with those behind it. */
static int compare_values_of_hash(struct duplicates *duplicates)
{
    int result = MOTE_OK;
    for (duplicates->passed = 0; !result && !duplicates->doubled; duplicates->passed++) {
        memory_free(duplicates->memory, duplicates->bytes);
        duplicates->bytes = NULL;
        duplicates->reference = (struct mote_value){.is_null = true};
        duplicates->seen = 0;
        result = scan_values(duplicates, visit_equal);
        if (duplicates->reference.is_null)
            break;
    }
    return result;
}

static bool visit_hash(struct duplicates *duplicates, const struct mote_value *value)
{
    uint64_t hash = unique_hash_value(value), slot = hash & (duplicates->capacity - 1);
    if (hash / duplicates->capacity % duplicates->shares != duplicates->share)
        return true;
    for (uint32_t i = 0; i < duplicates->settled_count; i++)
        if (duplicates->settled[i] == hash)
            return true;
    while (duplicates->slots[slot] && duplicates->slots[slot] != hash)
        slot = (slot + 1) & (duplicates->capacity - 1);
    duplicates->repeated = duplicates->slots[slot] == hash;
    duplicates->hash = hash;
    if (!duplicates->slots[slot] && ++duplicates->used > duplicates->capacity / 4 * 3)
        duplicates->result = MOTE_EBUDGET; /* more rows than were counted fall into this share */
    duplicates->slots[slot] = hash;
    return !duplicates->repeated && !duplicates->result;
}

static int find_duplicates(struct duplicates *duplicates)
{
    uint64_t rows, most = memory_budget_bytes(duplicates->memory) / BUDGET_SHARE / sizeof *duplicates->slots;
    int result = mote_count(duplicates->table, NULL, &rows);
    if (result)
        return result;
    for (duplicates->capacity = 1024; duplicates->capacity < 2 * rows && 4 * duplicates->capacity <= most;)
        duplicates->capacity *= 2;
    duplicates->shares = 1 + 2 * rows / duplicates->capacity;
    duplicates->slots = memory_alloc(duplicates->memory, duplicates->capacity * sizeof *duplicates->slots);
    if (!duplicates->slots)
        return MOTE_EBUDGET;
    while (duplicates->share < duplicates->shares && !result && !duplicates->doubled) {
        memset(duplicates->slots, 0, duplicates->capacity * sizeof *duplicates->slots);
        duplicates->used = 0;
        duplicates->repeated = false;
        result = scan_values(duplicates, visit_hash);
        if (!result && duplicates->repeated)
            result = compare_values_of_hash(duplicates);
        if (!duplicates->repeated)
            duplicates->share++;
        else if (!result && !duplicates->doubled && duplicates->settled_count == SETTLED_MAX)
            result = error_set(MOTE_ENOTSUP, "too many different values have the same hash for a unique index; declare it without");
        else if (!result && !duplicates->doubled)
            duplicates->settled[duplicates->settled_count++] = duplicates->hash;
    }
    return result;
}

int unique_declare(struct mote_table *table, const struct manifest_index *definition)
{
    const struct schema *schema = atomic_load(&table->schema);
    struct duplicates duplicates = {.table = table, .memory = table->db->memory};
    uint32_t positions[ROW_INDEX_COLUMNS_MAX];
    index_columns(schema, definition, positions);
    duplicates.position = positions[0];
    int result = add_index(table, definition);
    if (!result)
        result = wait_for_writers(table->db);
    if (!result)
        result = find_duplicates(&duplicates);
    if (!result && duplicates.doubled) {
        char text[UNIQUE_TEXT_BYTES];
        unique_value_text(&duplicates.reference, text);
        result = error_set(MOTE_EEXISTS, "index %s of table %s cannot be unique: more than one row has the value %s", definition->name, schema->name, text);
        error_add_table(schema->name);
    }
    memory_free(duplicates.memory, duplicates.slots);
    memory_free(duplicates.memory, duplicates.bytes);
    return result;
}

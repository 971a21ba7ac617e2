/* manifest_retention.c: tables' retention, pins and watermarks in the manifest: composing the records, applying them, the snapshot's share.
 *
 * Invariants: each has a table and goes with it; a table's pins have different names; a watermark never goes back.
 * Threads: the committing thread, under the manifest's mutex; an edit belongs to one thread. Failures: as manifest_stage_apply.
 */
#include "engine/lsm/manifest_private.h"

#include <assert.h>
#include <inttypes.h>

#define RETENTION_BYTES 56u
#define PIN_BYTES (32u + MOTE_NAME_BYTES_MAX + 1u)
#define UNPIN_BYTES (8u + MOTE_NAME_BYTES_MAX + 1u)
#define WATERMARK_BYTES 24u
_Static_assert(RETENTION_BYTES == MANIFEST_RETENTION_RECORD_BYTES && PIN_BYTES == MANIFEST_PIN_RECORD_BYTES && UNPIN_BYTES == MANIFEST_UNPIN_RECORD_BYTES && WATERMARK_BYTES == MANIFEST_WATERMARK_RECORD_BYTES,
               "the records are as manifest_format.h says");

/* ---- Composing ---- */

static void encode_retention(uint64_t table_id, const struct manifest_retention *retention, struct byte_writer *writer)
{
    write_u64(writer, table_id);
    write_u64(writer, (uint64_t)retention->age_ns);
    write_u64(writer, retention->bytes_max);
    write_u64(writer, (uint64_t)retention->window_ns);
    write_u64(writer, (uint64_t)retention->future_ns);
    write_u64(writer, retention->pin_bytes_max);
    write_u32(writer, retention->recycle);
    write_u32(writer, 0);
}

static void encode_name(const char *name, struct byte_writer *writer)
{
    char bytes[MOTE_NAME_BYTES_MAX + 1] = {0};
    memcpy(bytes, name, strnlen(name, MOTE_NAME_BYTES_MAX));
    write_bytes(writer, bytes, sizeof bytes);
}

static void encode_pin(const struct manifest_pin *pin, struct byte_writer *writer)
{
    write_u64(writer, pin->table_id);
    write_u64(writer, (uint64_t)pin->from_ns);
    write_u64(writer, (uint64_t)pin->to_ns);
    write_u64(writer, pin->seq);
    encode_name(pin->name, writer);
}

void manifest_edit_set_retention(struct manifest_edit *edit, uint64_t table_id, const struct manifest_retention *retention)
{
    struct byte_writer writer = manifest_edit_record(edit, MANIFEST_RECORD_RETENTION, RETENTION_BYTES);
    encode_retention(table_id, retention, &writer);
}

void manifest_edit_add_pin(struct manifest_edit *edit, const struct manifest_pin *pin)
{
    struct byte_writer writer = manifest_edit_record(edit, MANIFEST_RECORD_PIN, PIN_BYTES);
    encode_pin(pin, &writer);
}

void manifest_edit_remove_pin(struct manifest_edit *edit, uint64_t table_id, const char *name)
{
    struct byte_writer writer = manifest_edit_record(edit, MANIFEST_RECORD_UNPIN, UNPIN_BYTES);
    write_u64(&writer, table_id);
    encode_name(name, &writer);
}

void manifest_edit_set_watermark(struct manifest_edit *edit, uint64_t table_id, const struct manifest_watermark *watermark)
{
    struct byte_writer writer = manifest_edit_record(edit, MANIFEST_RECORD_WATERMARK, WATERMARK_BYTES);
    write_u64(&writer, table_id);
    write_u64(&writer, (uint64_t)watermark->horizon_ns);
    write_u64(&writer, (uint64_t)watermark->newest_ns);
}

uint32_t manifest_retention_encode(const struct manifest_state *state, struct byte_writer *writer)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < state->table_count; i++) {
        const struct manifest_table *table = &state->tables[i];
        if (table->has_retention) {
            manifest_record_begin(writer, MANIFEST_RECORD_RETENTION, RETENTION_BYTES);
            encode_retention(table->schema->table_id, &table->retention, writer);
            count++;
        }
        if (table->has_watermark) {
            manifest_record_begin(writer, MANIFEST_RECORD_WATERMARK, WATERMARK_BYTES);
            write_u64(writer, table->schema->table_id);
            write_u64(writer, (uint64_t)table->watermark.horizon_ns);
            write_u64(writer, (uint64_t)table->watermark.newest_ns);
            count++;
        }
    }
    for (uint32_t i = 0; i < state->pin_count; i++, count++) {
        manifest_record_begin(writer, MANIFEST_RECORD_PIN, PIN_BYTES);
        encode_pin(&state->pins[i], writer);
    }
    return count;
}

/* ---- Applying ---- */

static uint64_t record_bytes(uint32_t body_bytes) { return MANIFEST_RECORD_HEADER_BYTES + body_bytes; }

int manifest_apply_retention(struct stage *stage, struct byte_reader *reader)
{
    struct manifest_retention retention;
    uint64_t table_id = read_u64(reader);
    retention.age_ns = (int64_t)read_u64(reader);
    retention.bytes_max = read_u64(reader);
    retention.window_ns = (int64_t)read_u64(reader);
    retention.future_ns = (int64_t)read_u64(reader);
    retention.pin_bytes_max = read_u64(reader);
    retention.recycle = read_u32(reader);
    uint32_t reserved = read_u32(reader);
    struct manifest_table *table = manifest_stage_table(stage->state, table_id);
    if (!table)
        return manifest_stage_unknown_table(table_id);
    if (retention.age_ns < 0 || retention.window_ns < 1 || retention.future_ns < 0 || retention.recycle > 1 || reserved || table->schema->time_column < 0)
        return error_set(MOTE_EINVAL, "the retention of table %s is out of its range", table->schema->name);
    stage->catalog_bytes += table->has_retention ? 0 : record_bytes(RETENTION_BYTES);
    table->has_retention = true;
    table->retention = retention;
    return MOTE_OK;
}

int manifest_apply_watermark(struct stage *stage, struct byte_reader *reader)
{
    struct manifest_watermark watermark;
    uint64_t table_id = read_u64(reader);
    watermark.horizon_ns = (int64_t)read_u64(reader);
    watermark.newest_ns = (int64_t)read_u64(reader);
    struct manifest_table *table = manifest_stage_table(stage->state, table_id);
    if (!table)
        return manifest_stage_unknown_table(table_id);
    stage->catalog_bytes += table->has_watermark ? 0 : record_bytes(WATERMARK_BYTES);
    /* Two edits may be made from one moment and be committed in either order: each keeps the later. */
    if (!table->has_watermark || watermark.horizon_ns > table->watermark.horizon_ns)
        table->watermark.horizon_ns = watermark.horizon_ns;
    if (!table->has_watermark || watermark.newest_ns > table->watermark.newest_ns)
        table->watermark.newest_ns = watermark.newest_ns;
    table->has_watermark = true;
    return MOTE_OK;
}

/* A name with zeros behind it. */
static bool read_name(struct byte_reader *reader, char *name)
{
    const uint8_t *bytes = read_bytes(reader, MOTE_NAME_BYTES_MAX + 1);
    size_t length = bytes ? strnlen((const char *)bytes, MOTE_NAME_BYTES_MAX + 1) : 0;
    if (length == 0 || length > MOTE_NAME_BYTES_MAX)
        return false;
    for (size_t i = length; i <= MOTE_NAME_BYTES_MAX; i++)
        if (bytes[i])
            return false;
    memcpy(name, bytes, MOTE_NAME_BYTES_MAX + 1);
    return true;
}

static uint32_t find_pin(const struct manifest_state *state, uint64_t table_id, const char *name)
{
    uint32_t at = 0;
    while (at < state->pin_count && (state->pins[at].table_id != table_id || strcmp(state->pins[at].name, name) != 0))
        at++;
    return at;
}

int manifest_apply_pin(struct stage *stage, struct byte_reader *reader)
{
    struct manifest_state *state = stage->state;
    struct manifest_pin pin;
    uint32_t of_table = 0;
    pin.table_id = read_u64(reader);
    pin.from_ns = (int64_t)read_u64(reader);
    pin.to_ns = (int64_t)read_u64(reader);
    pin.seq = read_u64(reader);
    if (!read_name(reader, pin.name) || pin.from_ns > pin.to_ns)
        return error_set(MOTE_EINVAL, "the record of a pin is malformed");
    const struct manifest_table *table = manifest_stage_table(state, pin.table_id);
    if (!table)
        return manifest_stage_unknown_table(pin.table_id);
    if (find_pin(state, pin.table_id, pin.name) < state->pin_count)
        return error_set(MOTE_EEXISTS, "table %s has a pin named %s already", table->schema->name, pin.name);
    for (uint32_t i = 0; i < state->pin_count; i++)
        of_table += state->pins[i].table_id == pin.table_id;
    if (state->pin_count == MANIFEST_PINS_MAX || of_table == MANIFEST_TABLE_PINS_MAX)
        return error_set(MOTE_EBUDGET, "table %s has %u pins and the volume %u: at most %u and %u are possible; unpin one", table->schema->name, of_table, state->pin_count, MANIFEST_TABLE_PINS_MAX, MANIFEST_PINS_MAX);
    state->pins[state->pin_count++] = pin;
    stage->catalog_bytes += record_bytes(PIN_BYTES);
    return MOTE_OK;
}

static void remove_pin(struct stage *stage, uint32_t at)
{
    struct manifest_state *state = stage->state;
    state->pin_count--;
    memmove(&state->pins[at], &state->pins[at + 1], (state->pin_count - at) * sizeof state->pins[0]);
    stage->catalog_bytes -= record_bytes(PIN_BYTES);
}

int manifest_apply_unpin(struct stage *stage, struct byte_reader *reader)
{
    char name[MOTE_NAME_BYTES_MAX + 1];
    uint64_t table_id = read_u64(reader);
    if (!read_name(reader, name))
        return error_set(MOTE_EINVAL, "the record of a pin that is given up is malformed");
    uint32_t at = find_pin(stage->state, table_id, name);
    if (at == stage->state->pin_count)
        return error_set(MOTE_ENOTFOUND, "the table has no pin named %s", name);
    remove_pin(stage, at);
    return MOTE_OK;
}

void manifest_drop_table_retention(struct stage *stage, const struct manifest_table *table)
{
    for (uint32_t i = stage->state->pin_count; i-- > 0;)
        if (stage->state->pins[i].table_id == table->schema->table_id)
            remove_pin(stage, i);
    stage->catalog_bytes -= table->has_retention ? record_bytes(RETENTION_BYTES) : 0;
    stage->catalog_bytes -= table->has_watermark ? record_bytes(WATERMARK_BYTES) : 0;
}

/* schema_version.c: an older version of a table's schema, made from the newest: a column is only ever added at the end, so version v is the columns with added_in <= v. What the log and the memtables hold of old rows is read with it. */
#include <string.h>

#include "blockdev/base/errors.h"
#include "blockdev/base/units.h"
#include "engine/lsm/schema_private.h"

static struct mote_column_definition definition_of(const struct schema_column *column)
{
    return (struct mote_column_definition){column->name, column->type, column->dimension, column->flags, 0, column->default_value};
}

int schema_at_version(struct memory *memory, const struct schema *newest, uint32_t version, struct schema **out)
{
    struct schema_builder builder;
    uint64_t default_bytes = 0;
    uint32_t count = 0;
    assert(version >= 1 && version <= newest->version);
    while (count < newest->column_count && newest->columns[count].added_in <= version) {
        struct mote_column_definition definition = definition_of(&newest->columns[count++]);
        default_bytes += round_up(schema_default_bytes(&definition), 8);
    }
    int result = schema_begin(&builder, memory, count, default_bytes);
    if (result)
        return result;
    struct schema *schema = builder.schema;
    memcpy(schema->name, newest->name, sizeof schema->name);
    schema->table_id = newest->table_id;
    schema->version = version;
    schema->flags = newest->flags;
    schema->key_column_count = newest->key_column_count;
    memcpy(schema->key_columns, newest->key_columns, sizeof schema->key_columns);
    schema->time_column = newest->time_column;
    for (uint32_t i = 0; i < count && !result; i++) {
        struct mote_column_definition definition = definition_of(&newest->columns[i]);
        result = schema_push_column(&builder, &definition, newest->columns[i].id, newest->columns[i].added_in);
        schema->columns[i].hidden = newest->columns[i].hidden;
    }
    if (result) {
        schema_abandon(&builder);
        return result;
    }
    return schema_finish(&builder, out);
}

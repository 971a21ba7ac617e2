/* index_types.c: all types of declared indexes. */
#include "engine/index_type.h"

static const struct index_type *const kinds[] = {
    &spatial_index_type,
    &vector_index_type,
    &column_index_type,
    &text_index_type,
    NULL,
};

const struct row_index_ops *const engine_index_ops[] = {
    &spatial_row_index_ops,
    &vector_row_index_ops,
    &column_row_index_ops,
    &text_row_index_ops,
    NULL,
};

const struct index_type *index_type_find(uint32_t kind)
{
    for (const struct index_type *const *at = kinds; *at; at++)
        if ((*at)->rows->kind == kind)
            return *at;
    return NULL;
}

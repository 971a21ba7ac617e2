/* schema_format.h: a schema as bytes, in catalog edits of the manifest and in DDL records of the log.
 *
 * Little-endian. No checksum of its own: it lies only within frames (manifest or log) whose checksum covers it. Reserved bytes are zero and checked. A schema has exactly one serialised form, of at most SCHEMA_ENCODED_BYTES_MAX.
 *
 *   offset size  header
 *        0    4  magic "MSCH"
 *        4    2  format version, 1
 *        6    2  key column count, 1 to 8
 *        8    8  table id
 *       16    4  schema version, from 1
 *       20    4  table flags (enum mote_table_flags)
 *       24    4  column count, the hidden rowid included
 *       28    4  position of the time column, -1 (all ones) if there is none
 *       32    4  size of the whole form in bytes, this header included
 *       36    2  length of the table's name
 *       38    2  1 if column 0 is the hidden rowid, else 0
 *       40   16  positions of the key columns, 8 of 2 bytes, most significant first; unused ones 0
 *       56    8  reserved, zero
 *       64       the table's name, without NUL
 *
 *   then each column in schema order
 *   offset size
 *        0    8  column id
 *        8    4  schema version that added it
 *       12    4  dimension (1 unless a vector)
 *       16    1  type (enum mote_type)
 *       17    1  flags (enum mote_column_flags)
 *       18    1  length of the name
 *       19    1  reserved, zero
 *       20    4  length of the default, 0 if there is none (text and blob: a default may be empty)
 *       24       the name, without NUL, then the default's bytes as in a row image (text, blob: the bytes themselves)
 */
#ifndef MOTE_ENGINE_LSM_SCHEMA_FORMAT_H
#define MOTE_ENGINE_LSM_SCHEMA_FORMAT_H

#include "include/mote.h"

#define SCHEMA_MAGIC 0x4843534Du /* "MSCH" */

enum {
    SCHEMA_FORMAT_VERSION = 1,
    SCHEMA_HEADER_BYTES = 64,
    SCHEMA_COLUMN_BYTES = 24, /* before name and default */
};

_Static_assert(MOTE_KEY_COLUMNS_MAX * 2 == 16, "the header has room for the positions of eight key columns");
_Static_assert(MOTE_COLUMNS_MAX <= UINT16_MAX, "a position fits two bytes");

#endif

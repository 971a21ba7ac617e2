/* text_format.h: the text index on the device, version 1. Little-endian; reserved fields are zero and checked.
 *
 * A section is six streams of pages, written as they fill and so interleaved, then table pages if the root has no room for all entries, then the root.
 * The root (or the table pages) has one entry for each page of each stream; a place in a stream is a number: offset = page number * TEXT_PAYLOAD_BYTES + offset in the page's payload.
 *
 *   leaves     the terms in ascending order of their bytes, front-coded, and where each one's postings are
 *   inner      first terms of leaves (level 1), or of inner pages of the level below, and their numbers
 *   postings   blocks of at most 128 (ordinal, frequency); a block lies in one page
 *   positions  for each posting its positions: the first, then differences; varints, across pages
 *   skips      one entry of 28 bytes for each block of a term of more than 128 documents, TEXT_SKIPS_PER_PAGE in a page
 *   lengths    the documents' lengths in tokens, TEXT_LENGTHS_PER_PAGE ordinals a page
 *
 * Page header, 48 bytes
 *   offset  size  field
 *        0     4  magic          one for each stream, for table pages and for the root
 *        4     4  checksum       CRC32C of the bytes from 8 to the page's end, seeded with (UUID, magic, segment id, own offset)
 *        8     8  segment id
 *       16     8  section id
 *       24     8  own offset     in the section
 *       32     4  length
 *       36     2  version        1
 *       38     2  reserved
 *       40     4  page number    in its stream; 0 in the root
 *       44     4  reserved
 *       48        payload, at most TEXT_PAYLOAD_BYTES (table pages and root: up to INDEX_PAGE_BYTES_MAX in all)
 *
 * Payload of a leaf or an inner page
 *        0     2  entry count
 *        2     2  restart count  ceil(entry count / TEXT_RESTART_ENTRIES)
 *        4     1  level          0 leaf
 *        5     3  reserved
 *        8     8  base of postings offsets  (inner pages: 0, these three)
 *       16     8  base of positions offsets
 *       24     8  base of skip numbers
 *       32        entries
 *      end - 2 * restart count: offsets in the payload of every TEXT_RESTART_ENTRIES-th entry, which shares nothing with the one before
 * Entry: shared bytes (1), further bytes (1), those bytes, then varints
 *   inner: number of the child page
 *   leaf:  documents * 4 + kind, and
 *     kind 0 (one document, one occurrence)  ordinal, position
 *     kind 1 (at most 128 documents)         occurrences - documents, postings offset - base, positions offset - base
 *     kind 2 (more)                          occurrences - documents, number of the first skip entry - base
 * Postings block: bits of an ordinal (1), bits of a frequency (1), then count ordinals and count frequencies, each packed from the lowest bit up and rounded up to bytes:
 *   ordinal - (ordinal before) - 1, the first one counted from the last ordinal of the block before, or from -1; frequency - 1
 * Skip entry
 *        0     4  last ordinal of the block
 *        4     4  highest frequency
 *        8     4  smallest length of a document
 *       12     8  postings offset
 *       20     8  positions offset
 * Payload of a lengths page
 *        0     1  bits of a value
 *        1     7  reserved
 *        8        values, packed: 0 no document, else length + 1
 * Table page payload: entries of pages; count in the page's length
 * Root payload
 *        0     2  language       of the stemmer: 0 none, else its number (text_analyse.c)
 *        2     2  flags          bit 0: diacritics are kept
 *        4     4  analysis       version of the rules of text_analyse.c, 1
 *        8     8  documents
 *       16     8  tokens
 *       24     8  postings
 *       32     8  terms
 *       40     8  bytes of all terms
 *       48     4  ordinal end    no document's ordinal is as high
 *       52     4  levels of inner pages
 *       56     8  skip entries
 *       64     4  length of the shortest document
 *       68     4  table pages    0: the entries are the streams' pages
 *       72    24  pages of each stream, leaves first, 4 bytes each
 *       96        entries
 * Entry of a page, 16 bytes
 *        0     8  offset in the section
 *        8     4  length
 *       12     4  checksum of the page
 */
#ifndef MOTE_INDEX_TEXT_FORMAT_H
#define MOTE_INDEX_TEXT_FORMAT_H

#include "index/index.h"
#include "index/text.h"

#define TEXT_MAGIC_LEAVES 0x4458544du /* "MTXD" */
#define TEXT_MAGIC_INNER 0x4958544du
#define TEXT_MAGIC_POSTINGS 0x5058544du
#define TEXT_MAGIC_POSITIONS 0x4f58544du
#define TEXT_MAGIC_SKIPS 0x5358544du
#define TEXT_MAGIC_LENGTHS 0x4c58544du
#define TEXT_MAGIC_TABLE 0x5458544du
#define TEXT_MAGIC_ROOT 0x5258544du

enum text_stream_number { TEXT_LEAVES, TEXT_INNER, TEXT_POSTINGS, TEXT_POSITIONS, TEXT_SKIPS, TEXT_LENGTHS, TEXT_STREAMS };
enum text_term_kind { TEXT_TERM_INLINE = 0, TEXT_TERM_SMALL = 1, TEXT_TERM_LARGE = 2 };

enum {
    TEXT_VERSION = 1,
    TEXT_ANALYSIS_VERSION = 1,
    TEXT_HEADER_BYTES = 48,
    TEXT_PAYLOAD_BYTES = 16336,
    TEXT_FANOUT = 4000,
    TEXT_PAGE_ENTRY_BYTES = 16,
    TEXT_ROOT_PAYLOAD_BYTES = 96,
    TEXT_DICTIONARY_HEADER_BYTES = 32,
    TEXT_DICTIONARY_LEVELS_MAX = 6,
    TEXT_RESTART_ENTRIES = 16,
    TEXT_BLOCK_POSTINGS = 128,
    TEXT_BLOCK_BYTES_MAX = 2 + 2 * 4 * TEXT_BLOCK_POSTINGS,
    TEXT_SKIP_BYTES = 28,
    TEXT_SKIPS_PER_PAGE = TEXT_PAYLOAD_BYTES / TEXT_SKIP_BYTES,
    TEXT_LENGTHS_PER_PAGE = 4000,
    TEXT_LENGTHS_HEADER_BYTES = 8,
    TEXT_FLAG_KEEP_DIACRITICS = 1,
};

_Static_assert(TEXT_HEADER_BYTES + TEXT_ROOT_PAYLOAD_BYTES + TEXT_FANOUT * TEXT_PAGE_ENTRY_BYTES <= INDEX_PAGE_BYTES_MAX, "a root is one page");
_Static_assert(TEXT_LENGTHS_HEADER_BYTES + TEXT_LENGTHS_PER_PAGE * 4 <= TEXT_PAYLOAD_BYTES, "lengths of 32 bits fit their page");

#endif

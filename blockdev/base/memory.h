/* memory.h: the one memory budget. memory_create maps the whole budget at open (one private anonymous mmap; in the child of a fork the carved part is absent and the heap reads as zero; optionally
 * MADV_HUGEPAGE); everything that mote keeps comes from it, so that nothing later can fail for want of memory that was promised.
 *
 * Two ways of taking from it:
 *   memory_carve    large, page-aligned, for the handle's life (stages, memtables, cache, I/O buffers); at open only, before memory_seal
 *   memory_alloc    a bounded general heap (two-level segregated fit: O(1) alloc and free, low fragmentation) over what is left,
 *                   for cold objects: schemas, versions, cursors, merge buffers. Thread-safe by one mutex: never on the append path.
 *
 * Failures: NULL, with MOTE_EBUDGET set (memory_create: MOTE_ENOMEM). Invariants: used_bytes never exceeds budget; all memory goes back in one
 * munmap; memory_destroy asserts in debug builds that the heap is empty. Corrupting double frees are caught by header checks (abort).
 */
#ifndef MOTE_BLOCKDEV_BASE_MEMORY_H
#define MOTE_BLOCKDEV_BASE_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct memory;

/* Maps budget_bytes (rounded up to pages). huge_pages: ask for transparent huge pages. */
int memory_create(uint64_t budget_bytes, bool huge_pages, struct memory **memory);
void memory_destroy(struct memory *memory);
/* size_bytes of zeroed memory, aligned to align_bytes (power of two, at least PAGE_BYTES is used). NULL: EBUDGET, or sealed. */
void *memory_carve(struct memory *memory, uint64_t size_bytes, uint64_t align_bytes);
/* Ends the carving: the rest becomes the heap. */
int memory_seal(struct memory *memory);
/* 16-byte aligned, not zeroed / zeroed. NULL with MOTE_EBUDGET set. Valid after memory_seal only. */
void *memory_alloc(struct memory *memory, size_t size_bytes);
void *memory_alloc_zero(struct memory *memory, size_t size_bytes);
/* Aligned to align_bytes (for I/O buffers: 4096). Freed by memory_free too. */
void *memory_alloc_aligned(struct memory *memory, size_t size_bytes, size_t align_bytes);
void *memory_realloc(struct memory *memory, void *old, size_t size_bytes);
void memory_free(struct memory *memory, void *object); /* NULL allowed */
/* Has the kernel provide pages of the mapping now, so that their first use costs no page fault; false: it cannot. Any thread; what lies there stays. */
bool memory_populate(struct memory *memory, uint64_t offset_bytes, uint64_t size_bytes);
/* The mapping, for registering it with io_uring. */
void *memory_base(const struct memory *memory);
uint64_t memory_budget_bytes(const struct memory *memory);
uint64_t memory_used_bytes(const struct memory *memory);
/* Test hook: the n-th memory_alloc from now (0 = the next) and, if for_ever, all after it fail. n < 0: off. */
void memory_fail_after(struct memory *memory, int64_t n, bool for_ever);

#endif

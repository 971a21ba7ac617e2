/* base_memory_page_test.c: the memory budget under a kernel whose pages are larger than ours, as those of aarch64 may be. sysconf and madvise are ours here: they say 64 KiB, and refuse as such a kernel does what does not begin with a page
 * (counted from the mapping's begin, which a real one would have aligned). */
#include "blockdev/base/memory.h"
#include "blockdev/base/units.h"
#include "include/mote.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

enum { KERNEL_PAGE_BYTES = 65536 };

static struct {
    uint8_t *base;               /* of the mapping: the first that is advised about */
    uint8_t *wiped, *wiped_end;  /* what reads as zero in a child */
    uint64_t populated_from, populated_to;
    unsigned refused_count;
} advised;

long sysconf(int name)
{
    cr_assert_eq(name, _SC_PAGESIZE);
    return KERNEL_PAGE_BYTES;
}

int madvise(void *start, size_t size_bytes, int advice)
{
    uint8_t *at = start;
    if (!advised.base)
        advised.base = at;
    uint64_t offset_bytes = (uint64_t)(at - advised.base);
    if (offset_bytes % KERNEL_PAGE_BYTES != 0) {
        advised.refused_count++;
        errno = EINVAL;
        return -1;
    }
    if (advice == MADV_WIPEONFORK) {
        advised.wiped = at;
        advised.wiped_end = at + round_up(size_bytes, KERNEL_PAGE_BYTES);
    } else if (advice != MADV_DONTFORK && advice != MADV_DOFORK) {
        advised.populated_from = offset_bytes;
        advised.populated_to = offset_bytes + size_bytes;
    }
    return 0;
}

Test(base_memory_page, heap_begins_with_a_page_of_the_kernel)
{
    struct memory *memory = NULL;
    cr_assert_eq(memory_create(MIB_BYTES, false, &memory), MOTE_OK);
    uint8_t *carved = memory_carve(memory, 3 * PAGE_BYTES, PAGE_BYTES);
    cr_assert(carved);
    cr_assert_eq(memory_seal(memory), MOTE_OK);
    cr_assert_eq(advised.refused_count, 0);
    cr_assert_not_null(advised.wiped, "the heap reads as zero in a child");
    cr_assert_geq(advised.wiped, carved + 3 * PAGE_BYTES, "what is carved does not: the kernel writes to it for us");
    uint8_t *small = memory_alloc(memory, 64), *large = memory_alloc(memory, 512 * 1024);
    cr_assert(small && large);
    cr_assert(small >= advised.wiped && small < advised.wiped_end);
    cr_assert(large >= advised.wiped && large + 512 * 1024 <= advised.wiped_end);
    memory_free(memory, large);
    memory_free(memory, small);
    memory_destroy(memory);
}

Test(base_memory_page, populate_anywhere_covers_the_range)
{
    struct memory *memory = NULL;
    cr_assert_eq(memory_create(MIB_BYTES, false, &memory), MOTE_OK);
    for (uint64_t offset_bytes = 0; offset_bytes < MIB_BYTES; offset_bytes += 5 * PAGE_BYTES) {
        uint64_t size_bytes = MIB_BYTES - offset_bytes < 3 * PAGE_BYTES ? MIB_BYTES - offset_bytes : 3 * PAGE_BYTES;
        cr_assert(memory_populate(memory, offset_bytes, size_bytes));
        cr_assert_leq(advised.populated_from, offset_bytes);
        cr_assert_eq(advised.populated_to, offset_bytes + size_bytes);
    }
    cr_assert_eq(advised.refused_count, 0);
    memory_destroy(memory);
}

/* fork_page.h: a page that the kernel wipes in the child of a fork: how a handle knows, without a system call, that it is not in its own process. */
#ifndef MOTE_ENGINE_FORK_PAGE_H
#define MOTE_ENGINE_FORK_PAGE_H

#include <stdint.h>
#include <sys/mman.h>

#include "blockdev/base/units.h"

#define FORK_ALIVE 0x6d6f7465u

/* NULL: the operating system refused. */
static inline const uint32_t *fork_page_make(void)
{
    uint32_t *page = mmap(NULL, PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED)
        return NULL;
    if (madvise(page, PAGE_BYTES, MADV_WIPEONFORK) != 0) {
        munmap(page, PAGE_BYTES);
        return NULL;
    }
    *page = FORK_ALIVE;
    return page;
}

static inline void fork_page_free(const uint32_t *page)
{
    if (page)
        munmap((void *)(uintptr_t)page, PAGE_BYTES);
}

#endif

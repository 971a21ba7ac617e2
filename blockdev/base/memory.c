/* memory.c: the memory budget (memory.h): one mapping, carved at open, and a two-level segregated-fit heap over the rest.
 *
 * The mapping:   struct memory | carved regions | blocks of the heap ... | an end block of size 0, in use
 * A block is a header of 32 bytes and a payload, a multiple of 16 bytes; a free block keeps its list links in the payload. Free lists are
 * by size class: first the power of two, then 16 steps within it; two levels of bitmaps find a class that fits in a few instructions
 * (M. Masmano et al., "TLSF: a new dynamic memory allocator for real-time systems", 2004).
 *
 * Invariants (under the mutex): no two neighbouring blocks are free; every block's header has its check word; a free block is in the list
 * of its class; used_bytes = struct + carved + blocks in use with their headers <= budget.
 * Threads: alloc, realloc and free from any thread; carve and seal belong to open, before the memory is shared.
 * Failures: NULL with MOTE_EBUDGET. A pointer that is not in use (freed twice, or its header overwritten) aborts: going on would
 * corrupt what is then written to the device.
 */
#include "blockdev/base/memory.h"
#include "blockdev/base/errors.h"
#include "blockdev/base/units.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__)
#define MEMORY_POISON 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define MEMORY_POISON 1
#endif
#endif
#ifdef MEMORY_POISON
#include <sanitizer/asan_interface.h>
#define REDZONE_BYTES 16u /* so that each payload ends in bytes that no one may touch */
#define poison(at, bytes) ASAN_POISON_MEMORY_REGION(at, bytes)
#define unpoison(at, bytes) ASAN_UNPOISON_MEMORY_REGION(at, bytes)
#else
#define REDZONE_BYTES 0u
#define poison(at, bytes) ((void)(at), (void)(bytes))
#define unpoison(at, bytes) ((void)(at), (void)(bytes))
#endif

enum {
    ALIGN_BYTES = 16,
    SECOND_LEVEL_BITS = 4,
    SECOND_LEVEL_COUNT = 1 << SECOND_LEVEL_BITS,
    LINEAR_BYTES = 256,     /* below, the classes are multiples of 16 */
    LARGE_BYTES = 16384,    /* from here on an object is put at the end of the block that it is taken from */
    FIRST_LEVEL_COUNT = 42, /* up to 2^48 bytes */
};
enum { STATE_FREE = 0x46, STATE_USED = 0x55 };
#define CHECK_WORD 0x6d6f7465u

struct block {
    uint32_t check;         /* CHECK_WORD; 0 once the block was merged into its neighbour */
    uint32_t state;         /* STATE_... */
    uint64_t size_bytes;    /* of the payload */
    uint64_t asked_bytes;   /* what the caller asked for */
    struct block *previous; /* the block before it in memory, or NULL */
};
_Static_assert(sizeof(struct block) == 32, "payloads are 16-byte aligned");

struct links {
    struct block *next, *previous;
};

struct memory {
    uint64_t budget_bytes;
    uint64_t carved_bytes; /* from the mapping's begin, this struct included */
    bool sealed;
    _Atomic uint64_t used_bytes; /* written under the mutex, read without */
    pthread_mutex_t mutex;
    int64_t fail_after;
    bool fail_for_ever;
    uint64_t first_level;                     /* bit i: second_level[i] != 0 */
    uint32_t second_level[FIRST_LEVEL_COUNT]; /* bit j: lists[i][j] is not empty */
    struct block *lists[FIRST_LEVEL_COUNT][SECOND_LEVEL_COUNT];
};

static void *payload_of(struct block *block) { return block + 1; }
static struct links *links_of(struct block *block) { return payload_of(block); }
static struct block *next_block(struct block *block) { return (struct block *)((uint8_t *)payload_of(block) + block->size_bytes); }

static void stop(const char *what, const void *at)
{
    fprintf(stderr, "mote: memory heap: %s at %p\n", what, at);
    abort();
}

/* The class that holds blocks of this size. */
static void find_class(uint64_t size_bytes, unsigned *first, unsigned *second)
{
    if (size_bytes < LINEAR_BYTES) {
        *first = 0;
        *second = (unsigned)(size_bytes / ALIGN_BYTES);
        return;
    }
    unsigned top = 63u - (unsigned)__builtin_clzll(size_bytes);
    *first = top - 7;
    *second = (unsigned)(size_bytes >> (top - SECOND_LEVEL_BITS)) & (SECOND_LEVEL_COUNT - 1);
}

static void insert_free(struct memory *memory, struct block *block)
{
    unsigned first, second;
    find_class(block->size_bytes, &first, &second);
    assert(first < FIRST_LEVEL_COUNT);
    struct block *head = memory->lists[first][second];
    block->state = STATE_FREE;
    unpoison(payload_of(block), sizeof(struct links));
    *links_of(block) = (struct links){head, NULL};
    if (head)
        links_of(head)->previous = block;
    memory->lists[first][second] = block;
    memory->first_level |= 1ull << first;
    memory->second_level[first] |= 1u << second;
}

static void remove_free(struct memory *memory, struct block *block)
{
    assert(block->state == STATE_FREE);
    unsigned first, second;
    find_class(block->size_bytes, &first, &second);
    struct links *links = links_of(block);
    if (links->next)
        links_of(links->next)->previous = links->previous;
    if (links->previous) {
        links_of(links->previous)->next = links->next;
        return;
    }
    memory->lists[first][second] = links->next;
    if (!links->next) {
        memory->second_level[first] &= ~(1u << second);
        if (!memory->second_level[first])
            memory->first_level &= ~(1ull << first);
    }
}

/* A free block of at least size_bytes, taken off its list; NULL if there is none. Rounding the size up to the next class first makes
 * every block of the class found large enough. */
static struct block *take_free(struct memory *memory, uint64_t size_bytes)
{
    unsigned first, second;
    uint64_t wanted = size_bytes;
    if (wanted >= LINEAR_BYTES)
        wanted += (1ull << (63u - (unsigned)__builtin_clzll(wanted) - SECOND_LEVEL_BITS)) - 1;
    find_class(wanted, &first, &second);
    if (first >= FIRST_LEVEL_COUNT)
        return NULL;
    uint32_t seconds = memory->second_level[first] & (~0u << second);
    if (!seconds) {
        uint64_t firsts = memory->first_level & (~0ull << (first + 1));
        if (!firsts)
            return NULL;
        first = (unsigned)__builtin_ctzll(firsts);
        seconds = memory->second_level[first];
    }
    struct block *block = memory->lists[first][__builtin_ctz(seconds)];
    assert(block && block->size_bytes >= size_bytes);
    remove_free(memory, block);
    return block;
}

/* Cuts what lies beyond size_bytes off the block and makes it a free block, if it is large enough to be one. */
static void cut_block(struct memory *memory, struct block *block, uint64_t size_bytes)
{
    assert(block->size_bytes >= size_bytes && size_bytes % ALIGN_BYTES == 0);
    uint64_t rest = block->size_bytes - size_bytes;
    /* A sliver beside a large object would be given to a small one, which then lies in the middle of a large free block. */
    if (rest < sizeof(struct block) + ALIGN_BYTES || rest < size_bytes / 64)
        return;
    block->size_bytes = size_bytes;
    struct block *cut = next_block(block);
    unpoison(cut, sizeof *cut);
    *cut = (struct block){CHECK_WORD, STATE_FREE, rest - sizeof *cut, 0, block};
    next_block(cut)->previous = cut;
    insert_free(memory, cut);
}

/* Makes the block begin later, so that its payload is aligned; the part before it becomes a free block. Large objects go to the end of the block: they come and go with a job, while small ones may stay for long, and each kind
 * would break up the space of the other if they lay side by side. */
static struct block *align_block(struct memory *memory, struct block *block, uint64_t size_bytes, uint64_t align_bytes)
{
    uintptr_t payload = (uintptr_t)payload_of(block);
    uintptr_t least = payload + sizeof(struct block) + ALIGN_BYTES; /* leaves room for a free block in front */
    uintptr_t last = round_down(payload + block->size_bytes - size_bytes, align_bytes);
    bool to_end = size_bytes >= LARGE_BYTES && last >= least;
    if (!to_end && payload % align_bytes == 0)
        return block;
    uint64_t skip = (to_end ? last : round_up(least, align_bytes)) - payload;
    struct block *aligned = (struct block *)((uint8_t *)block + skip);
    unpoison(aligned, sizeof *aligned);
    *aligned = (struct block){CHECK_WORD, STATE_FREE, block->size_bytes - skip, 0, block};
    next_block(aligned)->previous = aligned;
    block->size_bytes = skip - sizeof(struct block);
    insert_free(memory, block);
    return aligned;
}

/* The kernel's page: 4, 16 or 64 KiB on aarch64. What is advised to the kernel begins with one; PAGE_BYTES is the project's own unit. */
static uint64_t kernel_page_bytes(void)
{
    long bytes = sysconf(_SC_PAGESIZE);
    return bytes > (long)PAGE_BYTES ? (uint64_t)bytes : PAGE_BYTES;
}

bool memory_populate(struct memory *memory, uint64_t offset_bytes, uint64_t size_bytes)
{
    assert(offset_bytes + size_bytes <= memory->budget_bytes);
#ifdef MADV_POPULATE_WRITE
    uint64_t start = round_down(offset_bytes, kernel_page_bytes());
    return madvise((uint8_t *)memory + start, offset_bytes + size_bytes - start, MADV_POPULATE_WRITE) == 0;
#else
    return false;
#endif
}

int memory_create(uint64_t budget_bytes, bool huge_pages, struct memory **memory)
{
    *memory = NULL;
    if (budget_bytes < 4 * PAGE_BYTES || budget_bytes > 1ull << 46)
        return error_set(MOTE_EINVAL, "the memory budget of %llu bytes is out of range; give at least 16 KiB",
                         (unsigned long long)budget_bytes);
    budget_bytes = round_up(budget_bytes, PAGE_BYTES);
    void *base = mmap(NULL, budget_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED)
        return error_set_errno(MOTE_ENOMEM, errno, "the system refused %llu bytes for the memory budget: %s; lower memory_bytes",
                               (unsigned long long)budget_bytes, strerror(errno));
    /* A child must not share pages that the kernel reads and writes for us; both calls are advice and may be refused by old kernels. */
    (void)madvise(base, budget_bytes, MADV_DONTFORK);
    if (huge_pages)
        (void)madvise(base, budget_bytes, MADV_HUGEPAGE);
    struct memory *made = base;
    made->budget_bytes = budget_bytes;
    made->carved_bytes = sizeof *made;
    made->fail_after = -1;
    atomic_store(&made->used_bytes, made->carved_bytes);
    if (pthread_mutex_init(&made->mutex, NULL) != 0) {
        (void)munmap(base, budget_bytes);
        return error_set(MOTE_ENOMEM, "the system refused a mutex");
    }
    *memory = made;
    return MOTE_OK;
}

void memory_destroy(struct memory *memory)
{
    if (!memory)
        return;
    assert(atomic_load(&memory->used_bytes) == memory->carved_bytes && "an object of the heap was not freed");
    uint64_t budget_bytes = memory->budget_bytes;
    (void)pthread_mutex_destroy(&memory->mutex);
    unpoison(memory, budget_bytes);
    (void)munmap(memory, budget_bytes);
}

void *memory_carve(struct memory *memory, uint64_t size_bytes, uint64_t align_bytes)
{
    if (align_bytes < PAGE_BYTES)
        align_bytes = PAGE_BYTES;
    if (!is_power_of_two(align_bytes) || memory->sealed) {
        error_set(MOTE_EINTERNAL, "memory cannot be carved %s", memory->sealed ? "after open" : "at such an alignment");
        return NULL;
    }
    uintptr_t base = (uintptr_t)memory;
    uint64_t start = round_up(base + memory->carved_bytes, align_bytes) - base;
    if (start > memory->budget_bytes || size_bytes > memory->budget_bytes - start) {
        error_set(MOTE_EBUDGET, "the memory budget of %llu bytes is too small: %llu bytes more are needed; raise memory_bytes",
                  (unsigned long long)memory->budget_bytes,
                  (unsigned long long)(start + size_bytes - memory->budget_bytes));
        return NULL;
    }
    memory->carved_bytes = start + size_bytes;
    atomic_store(&memory->used_bytes, memory->carved_bytes);
    return (uint8_t *)memory + start;
}

/* The heap holds handles: in a child they read as zero, so that a call on one can say so instead of crashing. Its pages are no more shared than the others. */
static void wipe_on_fork(void *start, uint64_t size_bytes)
{
    if (madvise(start, size_bytes, MADV_DOFORK) == 0 && madvise(start, size_bytes, MADV_WIPEONFORK) != 0)
        (void)madvise(start, size_bytes, MADV_DONTFORK);
}

int memory_seal(struct memory *memory)
{
    if (memory->sealed)
        return error_set(MOTE_EINTERNAL, "the memory budget is sealed already");
    memory->sealed = true;
    /* On a page of the kernel, which wipes or shares whole ones. */
    uint64_t start = round_up(memory->carved_bytes, kernel_page_bytes()), end = memory->budget_bytes;
    if (end < start + 2 * sizeof(struct block) + ALIGN_BYTES)
        return MOTE_OK; /* no heap: every memory_alloc will say so */
    wipe_on_fork((uint8_t *)memory + start, end - start);
    struct block *block = (struct block *)((uint8_t *)memory + start);
    *block = (struct block){CHECK_WORD, STATE_FREE, end - start - 2 * sizeof *block, 0, NULL};
    block->size_bytes -= block->size_bytes % ALIGN_BYTES;
    *next_block(block) = (struct block){CHECK_WORD, STATE_USED, 0, 0, block};
    poison(payload_of(block), block->size_bytes);
    insert_free(memory, block);
    return MOTE_OK;
}

static bool must_fail(struct memory *memory)
{
    if (memory->fail_after < 0)
        return false;
    if (memory->fail_after > 0) {
        memory->fail_after--;
        return false;
    }
    if (!memory->fail_for_ever)
        memory->fail_after = -1;
    return true;
}

void *memory_alloc_aligned(struct memory *memory, size_t size_bytes, size_t align_bytes)
{
    if (align_bytes < ALIGN_BYTES)
        align_bytes = ALIGN_BYTES;
    assert(is_power_of_two(align_bytes));
    void *object = NULL;
    pthread_mutex_lock(&memory->mutex);
    if (!must_fail(memory) && size_bytes <= memory->budget_bytes && align_bytes <= memory->budget_bytes) {
        uint64_t size = round_up((size_bytes ? size_bytes : 1) + REDZONE_BYTES, ALIGN_BYTES);
        uint64_t slack = align_bytes > ALIGN_BYTES ? align_bytes + sizeof(struct block) + ALIGN_BYTES : 0;
        struct block *block = take_free(memory, size + slack);
        if (block) {
            block = align_block(memory, block, size, align_bytes);
            cut_block(memory, block, size);
            block->state = STATE_USED;
            block->asked_bytes = size_bytes;
            atomic_fetch_add_explicit(&memory->used_bytes, block->size_bytes + sizeof *block, memory_order_relaxed);
            object = payload_of(block);
            poison(object, block->size_bytes);
            unpoison(object, size_bytes);
        }
    }
    pthread_mutex_unlock(&memory->mutex);
    if (!object)
        error_set(MOTE_EBUDGET, "the memory budget of %llu bytes has no %zu bytes left; raise memory_bytes",
                  (unsigned long long)memory->budget_bytes, size_bytes);
    return object;
}

void *memory_alloc(struct memory *memory, size_t size_bytes) { return memory_alloc_aligned(memory, size_bytes, ALIGN_BYTES); }

void *memory_alloc_zero(struct memory *memory, size_t size_bytes)
{
    void *object = memory_alloc(memory, size_bytes);
    if (object)
        memset(object, 0, size_bytes);
    return object;
}

/* The block of an object, after the checks that catch a second free and an overwritten header. */
static struct block *check_object(struct memory *memory, void *object)
{
    uintptr_t at = (uintptr_t)object, base = (uintptr_t)memory;
    if (at % ALIGN_BYTES != 0 || at < base + memory->carved_bytes + sizeof(struct block) || at >= base + memory->budget_bytes)
        stop("a pointer that is not of this heap was given back", object);
    struct block *block = (struct block *)object - 1;
    if (block->check != CHECK_WORD || block->state != STATE_USED)
        stop("an object was freed twice, or its header was overwritten", object);
    if (block->size_bytes > base + memory->budget_bytes - at || next_block(block)->check != CHECK_WORD ||
        next_block(block)->previous != block)
        stop("an object was written beyond its end", object);
    return block;
}

static void release_block(struct memory *memory, struct block *block)
{
    atomic_fetch_sub_explicit(&memory->used_bytes, block->size_bytes + sizeof *block, memory_order_relaxed);
    struct block *next = next_block(block), *previous = block->previous;
    block->state = STATE_FREE;
    /* Of the neighbours only headers and links are not poisoned yet: the rest may be most of the heap, and must not be walked at each free. */
    poison(payload_of(block), block->size_bytes);
    if (next->state == STATE_FREE) {
        remove_free(memory, next);
        block->size_bytes += sizeof *next + next->size_bytes;
        next->check = 0;
        poison(next, sizeof *next + sizeof(struct links));
    }
    if (previous && previous->state == STATE_FREE) {
        remove_free(memory, previous);
        previous->size_bytes += sizeof *block + block->size_bytes;
        block->check = 0;
        poison(block, sizeof *block);
        block = previous;
    }
    next_block(block)->previous = block;
    insert_free(memory, block);
}

void memory_free(struct memory *memory, void *object)
{
    if (!object)
        return;
    pthread_mutex_lock(&memory->mutex);
    release_block(memory, check_object(memory, object));
    pthread_mutex_unlock(&memory->mutex);
}

void *memory_realloc(struct memory *memory, void *old, size_t size_bytes)
{
    if (!old)
        return memory_alloc(memory, size_bytes);
    pthread_mutex_lock(&memory->mutex);
    struct block *block = check_object(memory, old);
    size_t old_bytes = block->asked_bytes;
    bool fits = size_bytes <= block->size_bytes - REDZONE_BYTES && size_bytes >= block->size_bytes / 2;
    if (fits) {
        block->asked_bytes = size_bytes;
        poison(old, block->size_bytes);
        unpoison(old, size_bytes);
    }
    pthread_mutex_unlock(&memory->mutex);
    if (fits)
        return old;
    void *object = memory_alloc(memory, size_bytes);
    if (!object)
        return NULL; /* the old object stays as it was */
    memcpy(object, old, old_bytes < size_bytes ? old_bytes : size_bytes);
    memory_free(memory, old);
    return object;
}

/* The mapping begins with this struct. The kernel, for whom the mapping is registered, wants it writable. */
void *memory_base(const struct memory *memory) { return (void *)(uintptr_t)memory; }

uint64_t memory_budget_bytes(const struct memory *memory) { return memory->budget_bytes; }

uint64_t memory_used_bytes(const struct memory *memory)
{
    return atomic_load_explicit(&memory->used_bytes, memory_order_relaxed);
}

void memory_fail_after(struct memory *memory, int64_t n, bool for_ever)
{
    pthread_mutex_lock(&memory->mutex);
    memory->fail_after = n;
    memory->fail_for_ever = for_ever;
    pthread_mutex_unlock(&memory->mutex);
}

/* base_memory_test.c: the memory budget: carving, the bounded heap, its failures, and that it aborts on misuse. */
#include "blockdev/base/errors.h"
#include "blockdev/base/memory.h"
#include "blockdev/base/units.h"
#include "tests/support/codec_check.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

static struct memory *make_memory(uint64_t budget_bytes)
{
    struct memory *memory = NULL;
    cr_assert_eq(memory_create(budget_bytes, false, &memory), MOTE_OK);
    return memory;
}

Test(base_memory, carved_regions_are_aligned_and_zero_and_bounded)
{
    struct memory *memory = make_memory(MIB_BYTES);
    uint8_t *first = memory_carve(memory, 5000, 1), *second = memory_carve(memory, 8192, 65536);
    cr_assert(first && second);
    cr_assert_eq((uintptr_t)first % PAGE_BYTES, 0);
    cr_assert_eq((uintptr_t)second % 65536, 0);
    cr_assert_geq(second, first + 5000);
    for (size_t i = 0; i < 5000; i++)
        cr_assert_eq(first[i], 0);
    memset(second, 1, 8192);
    cr_assert_null(memory_carve(memory, MIB_BYTES, 1));
    cr_assert_eq(mote_last_error(NULL), MOTE_EBUDGET);
    cr_assert_null(memory_carve(memory, UINT64_MAX, 1));
    cr_assert_eq(memory_seal(memory), MOTE_OK);
    cr_assert_null(memory_carve(memory, 1, 1), "sealed");
    cr_assert_neq(memory_seal(memory), MOTE_OK);
    cr_assert_geq((uint8_t *)memory_base(memory) + memory_budget_bytes(memory), second + 8192);
    cr_assert_leq(memory_used_bytes(memory), memory_budget_bytes(memory));
    memory_destroy(memory);
    memory_destroy(NULL);
}

Test(base_memory, heap_fills_up_and_comes_back_whole)
{
    enum { OBJECTS_MAX = 4096 };
    static void *objects[OBJECTS_MAX];
    struct memory *memory = make_memory(MIB_BYTES);
    cr_assert_eq(memory_seal(memory), MOTE_OK);
    uint64_t empty_bytes = memory_used_bytes(memory);
    size_t count = 0;
    while (count < OBJECTS_MAX && (objects[count] = memory_alloc(memory, 1000)) != NULL)
        count++;
    cr_assert_gt(count, 900, "a heap of 1 MiB holds %zu objects of 1000 bytes", count);
    cr_assert_eq(mote_last_error(NULL), MOTE_EBUDGET);
    for (size_t i = 0; i < count; i += 2)
        memory_free(memory, objects[i]);
    for (size_t i = 1; i < count; i += 2)
        memory_free(memory, objects[i]);
    cr_assert_eq(memory_used_bytes(memory), empty_bytes);
    void *all = memory_alloc(memory, 896 * 1024); /* kernels with pages of 64 KiB leave less than 960 KiB */
    cr_assert_not_null(all, "neighbours were merged");
    memory_free(memory, all);
    cr_assert_null(memory_alloc(memory, SIZE_MAX));
    cr_assert_null(memory_alloc(memory, 2 * MIB_BYTES));
    memory_destroy(memory);
}

/* A model: each object holds its own pattern; a wrong byte shows two objects that overlap. */
Test(base_memory, random_use_keeps_objects_apart)
{
    enum { SLOTS = 300, ROUNDS = 60000 };
    static struct {
        uint8_t *object;
        size_t size_bytes;
        uint8_t pattern;
    } slots[SLOTS];
    uint64_t state = 20251;
    printf("seed %llu\n", (unsigned long long)state);
    struct memory *memory = make_memory(2 * MIB_BYTES);
    memory_seal(memory);
    uint64_t empty_bytes = memory_used_bytes(memory);
    size_t refused = 0;
    for (int round = 0; round < ROUNDS; round++) {
        size_t s = codec_check_random(&state) % SLOTS, size_bytes = codec_check_random(&state) % (1u << codec_check_random(&state) % 16);
        for (size_t i = 0; i < slots[s].size_bytes; i++)
            cr_assert_eq(slots[s].object[i], slots[s].pattern);
        uint64_t what = codec_check_random(&state) % 4;
        uint8_t *object;
        if (what == 0 && slots[s].object) {
            size_t kept = slots[s].size_bytes < size_bytes ? slots[s].size_bytes : size_bytes;
            object = memory_realloc(memory, slots[s].object, size_bytes);
            for (size_t i = 0; object && i < kept; i++)
                cr_assert_eq(object[i], slots[s].pattern);
            if (!object)
                continue;
        } else {
            memory_free(memory, slots[s].object);
            size_t align_bytes = (size_t)16 << codec_check_random(&state) % 9;
            object = what == 1 ? memory_alloc_aligned(memory, size_bytes, align_bytes)
                               : (what == 2 ? memory_alloc(memory, size_bytes) : memory_alloc_zero(memory, size_bytes));
            cr_assert_eq((uintptr_t)object % (what == 1 ? align_bytes : 16), 0);
            for (size_t i = 0; what == 3 && object && i < size_bytes; i++)
                cr_assert_eq(object[i], 0);
        }
        refused += object == NULL;
        slots[s].object = object;
        slots[s].size_bytes = object ? size_bytes : 0;
        slots[s].pattern = (uint8_t)round;
        if (object)
            memset(object, slots[s].pattern, size_bytes);
        cr_assert_leq(memory_used_bytes(memory), memory_budget_bytes(memory));
    }
    printf("%zu refused\n", refused);
    for (size_t s = 0; s < SLOTS; s++)
        memory_free(memory, slots[s].object);
    cr_assert_eq(memory_used_bytes(memory), empty_bytes);
    memory_destroy(memory);
}

Test(base_memory, fail_after_fails_the_named_allocation)
{
    struct memory *memory = make_memory(MIB_BYTES);
    memory_seal(memory);
    memory_fail_after(memory, 1, false);
    void *first = memory_alloc(memory, 10);
    cr_assert_not_null(first);
    cr_assert_null(memory_alloc(memory, 10));
    cr_assert_eq(mote_last_error(NULL), MOTE_EBUDGET);
    void *third = memory_alloc(memory, 10);
    cr_assert_not_null(third);
    memory_fail_after(memory, 0, true);
    cr_assert_null(memory_alloc_zero(memory, 10));
    cr_assert_null(memory_realloc(memory, third, 100000));
    cr_assert_null(memory_alloc_aligned(memory, 10, 4096));
    memory_fail_after(memory, -1, false);
    memory_free(memory, third);
    memory_free(memory, first);
    memory_destroy(memory);
}

Test(base_memory, impossible_budgets_are_refused)
{
    struct memory *memory = NULL;
    cr_assert_eq(memory_create(0, false, &memory), MOTE_EINVAL);
    cr_assert_null(memory);
    cr_assert_eq(memory_create(UINT64_MAX, false, &memory), MOTE_EINVAL);
    memory = make_memory(16384);
    cr_assert_not_null(memory_carve(memory, 8192, 4096));
    cr_assert_eq(memory_seal(memory), MOTE_OK);
    cr_assert_null(memory_alloc(memory, 16));
    memory_destroy(memory);
}

Test(base_memory, second_free_aborts, .signal = SIGABRT)
{
    struct memory *memory = make_memory(MIB_BYTES);
    memory_seal(memory);
    void *object = memory_alloc(memory, 100);
    memory_free(memory, object);
    memory_free(memory, object);
}

Test(base_memory, foreign_pointer_aborts, .signal = SIGABRT)
{
    struct memory *memory = make_memory(MIB_BYTES);
    memory_seal(memory);
    static _Alignas(16) uint8_t outside[64];
    memory_free(memory, outside + 32);
}

static void *use_heap(void *context)
{
    struct memory *memory = context;
    void *objects[16] = {0};
    for (uint32_t round = 0; round < 20000; round++) {
        memory_free(memory, objects[round % 16]);
        objects[round % 16] = memory_alloc(memory, 1 + round % 777);
        if (objects[round % 16])
            memset(objects[round % 16], (int)round, 1 + round % 777);
    }
    for (uint32_t i = 0; i < 16; i++)
        memory_free(memory, objects[i]);
    return NULL;
}

Test(base_memory, threads_share_the_heap)
{
    struct memory *memory = make_memory(MIB_BYTES);
    memory_seal(memory);
    uint64_t empty_bytes = memory_used_bytes(memory);
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, use_heap, memory), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    cr_assert_eq(memory_used_bytes(memory), empty_bytes);
    memory_destroy(memory);
}

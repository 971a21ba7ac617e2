/* blockdev_extents_test.c: free space. The property test keeps a state for each extent and the pins that each freed extent waits for, and compares after every call. */
#include <criterion/criterion.h>
#include <string.h>

#include "blockdev/base/memory.h"
#include "blockdev/base/units.h"
#include "blockdev/extents.h"
#include "blockdev/sim_private.h"
#include "include/mote.h"
#include "tests/support/requests.h"

static struct memory *memory;
static struct extents *extents;

static void make(uint32_t count)
{
    cr_assert_eq(memory_create(4 * MIB_BYTES, false, &memory), 0);
    cr_assert_eq(memory_seal(memory), 0);
    cr_assert_eq(extents_create(memory, count, &extents), 0);
}

static void drop(void)
{
    extents_destroy(extents);
    memory_destroy(memory);
}

static struct extents_counts counts(void)
{
    struct extents_counts now;
    extents_get_counts(extents, &now);
    cr_assert_eq(now.free + now.used + now.quarantined + now.trimming + now.bad, now.total);
    cr_assert_leq(now.reserved, now.free);
    return now;
}

static struct extent_run take(uint32_t count)
{
    struct extent_reservation reservation;
    struct extent_run run;
    cr_assert_eq(extents_reserve(extents, count, false, &reservation), 0);
    cr_assert_eq(extents_allocate(extents, &reservation, count, count, &run), 0);
    cr_assert_eq(reservation.count, 0);
    return run;
}

Test(blockdev_extents, marks_are_refused_twice_and_out_of_range)
{
    make(100);
    cr_expect_eq(extents_mark_used(extents, (struct extent_run){10, 5}), 0);
    cr_expect_eq(extents_mark_used(extents, (struct extent_run){14, 2}), MOTE_EDAMAGED);
    cr_expect_eq(extents_mark_bad(extents, 12), MOTE_EDAMAGED);
    cr_expect_eq(extents_mark_bad(extents, 99), 0);
    cr_expect_eq(extents_mark_bad(extents, 100), MOTE_EDAMAGED);
    cr_expect_eq(extents_mark_used(extents, (struct extent_run){98, 3}), MOTE_EDAMAGED);
    cr_expect_eq(extents_mark_used(extents, (struct extent_run){50, UINT32_MAX}), MOTE_EDAMAGED);
    cr_expect_eq(extents_mark_used(extents, (struct extent_run){UINT32_MAX, 2}), MOTE_EDAMAGED);
    cr_expect_eq(extents_mark_used(extents, (struct extent_run){5, 0}), MOTE_EDAMAGED);
    struct extents_counts now = counts();
    cr_expect_eq(now.used, 5);
    cr_expect_eq(now.bad, 1);
    cr_expect_eq(now.free, 94);
    drop();
}

Test(blockdev_extents, reservation_is_a_promise_and_the_standing_reserve_is_kept)
{
    struct extent_reservation first, second, standing;
    struct extent_run run;
    make(64);
    extents_set_standing_reserve(extents, 10);
    cr_expect_eq(extents_reserve(extents, 55, false, &first), MOTE_ENOSPC);
    cr_expect_eq(extents_reserve(extents, 54, false, &first), 0);
    cr_expect_eq(extents_reserve(extents, 1, false, &second), MOTE_ENOSPC);
    cr_expect_eq(second.count, 0);
    cr_expect_eq(extents_reserve(extents, 10, true, &standing), 0);
    cr_expect_eq(extents_reserve(extents, 1, true, &second), MOTE_ENOSPC);
    cr_expect_eq(extents_allocate(extents, &standing, 10, 20, &run), 0, "at most what is reserved");
    cr_expect_eq(run.count, 10);
    cr_expect_eq(extents_allocate(extents, &standing, 1, 1, &run), MOTE_ENOSPC);
    extents_unreserve(extents, &first);
    cr_expect_eq(first.count, 0);
    cr_expect_eq(counts().reserved, 0);
    cr_expect_eq(extents_reserve(extents, 45, false, &first), MOTE_ENOSPC);
    cr_expect_eq(extents_reserve(extents, 44, false, &first), 0);
    drop();
}

Test(blockdev_extents, allocation_takes_the_longest_run_that_is_left)
{
    struct extent_reservation reservation;
    struct extent_run run;
    make(100);
    /* Free: 0..9, 20..26, 40..41; the cursor of the tables stands at 25, in the middle of a run. */
    cr_assert_eq(extents_mark_used(extents, (struct extent_run){10, 10}), 0);
    cr_assert_eq(extents_mark_used(extents, (struct extent_run){27, 13}), 0);
    cr_assert_eq(extents_mark_used(extents, (struct extent_run){42, 58}), 0);
    cr_assert_eq(extents_reserve(extents, 19, false, &reservation), 0);
    cr_expect_eq(extents_allocate(extents, &reservation, 11, 12, &run), MOTE_ENOSPC);
    cr_expect_eq(reservation.count, 19);
    cr_expect_eq(extents_allocate(extents, &reservation, 3, 12, &run), 0);
    cr_expect(run.first == 0 && run.count == 10);
    cr_expect_eq(extents_allocate(extents, &reservation, 1, 7, &run), 0);
    cr_expect(run.first == 20 && run.count == 7);
    cr_expect_eq(extents_allocate(extents, &reservation, 1, 9, &run), 0);
    cr_expect(run.first == 40 && run.count == 2);
    cr_expect_eq(extents_allocate(extents, &reservation, 1, 9, &run), MOTE_ENOSPC);
    drop();
}

Test(blockdev_extents, log_and_tables_have_cursors_apart)
{
    struct extent_reservation log, tables;
    make(128);
    cr_assert_eq(extents_reserve(extents, 12, false, &log), 0);
    cr_assert_eq(extents_reserve(extents, 12, false, &tables), 0);
    log.log = true;
    for (uint32_t i = 0; i < 3; i++) {
        struct extent_run run;
        cr_assert_eq(extents_allocate(extents, &log, 4, 4, &run), 0);
        cr_expect_eq(run.first, i * 4);
        cr_assert_eq(extents_allocate(extents, &tables, 4, 4, &run), 0);
        cr_expect_eq(run.first, 32 + i * 4);
    }
    drop();
}

Test(blockdev_extents, freed_extent_waits_for_older_pins_and_its_trim)
{
    struct extent_run runs[4];
    make(64);
    extents_set_trim(extents, true);
    struct extent_run run = take(4);
    uint64_t older = extents_pin(extents);
    extents_free(extents, run);
    uint64_t newer = extents_pin(extents);
    cr_expect_eq(counts().quarantined, 4);
    cr_expect_eq(extents_take_trimmable(extents, runs, 4), 0);
    extents_unpin(extents, older);
    cr_expect_eq(counts().quarantined, 0, "the newer pin was taken afterwards");
    cr_expect_eq(counts().trimming, 4);
    cr_expect_eq(extents_take_trimmable(extents, runs, 4), 1);
    cr_expect_eq(runs[0].first, run.first);
    cr_expect_eq(extents_take_trimmable(extents, runs + 1, 3), 0, "nothing is taken twice");
    extents_trimmed(extents, runs[0]);
    cr_expect_eq(counts().free, 64);
    extents_unpin(extents, newer);
    run = take(3);
    extents_free(extents, run);
    cr_expect_eq(counts().trimming, 3, "no pin: no quarantine");
    extents_set_trim(extents, false);
    cr_expect_eq(counts().free, 64);
    drop();
}

/* ---- The property test ---- */

enum { EXTENTS = 300, PINS = 12, RUNS = 400 };
enum state { FREE, USED, BAD, FREED, TAKEN };

static struct model {
    enum state states[EXTENTS];
    uint64_t blockers[EXTENTS]; /* of a freed extent: bit of each pin that was there */
    struct extent_run runs[RUNS];
    uint32_t run_count;
    struct extent_reservation reservations[8];
    uint64_t pins[PINS];
    bool pinned[PINS];
    struct extent_run trims[RUNS];
    uint32_t trim_count;
    bool trim;
} model;

static uint32_t count_state(enum state state)
{
    uint32_t count = 0;
    for (int i = 0; i < EXTENTS; i++)
        count += model.states[i] == state;
    return count;
}

static void set_run(struct extent_run run, enum state from, enum state to)
{
    for (uint32_t i = run.first; i < run.first + run.count; i++) {
        cr_assert_lt(i, EXTENTS);
        cr_assert_eq(model.states[i], from, "extent %u is in state %d, not %d", i, (int)model.states[i], (int)from);
        model.states[i] = to;
    }
}

static struct extent_run pick_run(uint64_t *random)
{
    uint32_t at = (uint32_t)sim_random_below(random, model.run_count);
    struct extent_run run = model.runs[at];
    model.runs[at] = model.runs[--model.run_count];
    return run;
}

/* Without trim an extent becomes free by itself once no pin that it waits for is left: when it is handed out, no blocker may be. */
static void check_handed_out(struct extent_run run)
{
    for (uint32_t i = run.first; i < run.first + run.count; i++) {
        cr_assert_lt(i, EXTENTS);
        if (model.states[i] == FREED) { /* with trim: where free extents were short it went without */
            cr_assert_eq(model.blockers[i], 0, "extent %u was handed out before its pins were gone", i);
            model.states[i] = FREE;
        }
    }
    set_run(run, FREE, USED);
}

static void step_allocate(uint64_t *random)
{
    struct extent_reservation *reservation = &model.reservations[sim_random_below(random, 8)];
    struct extent_run run;
    uint32_t most = 1 + (uint32_t)sim_random_below(random, 20), least = 1 + (uint32_t)sim_random_below(random, most);
    if (reservation->count == 0 || model.run_count == RUNS)
        return;
    uint32_t before = reservation->count;
    reservation->log = sim_random_below(random, 2);
    if (extents_allocate(extents, reservation, least, most, &run) != 0) {
        cr_assert_eq(reservation->count, before);
        return;
    }
    cr_assert(run.count >= least && run.count <= most && run.count <= before);
    cr_assert_eq(reservation->count, before - run.count);
    check_handed_out(run);
    model.runs[model.run_count++] = run;
}

static uint32_t taken_count(void)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < model.trim_count; i++)
        count += model.trims[i].count;
    return count;
}

static void step_reserve(uint64_t *random)
{
    struct extent_reservation *reservation = &model.reservations[sim_random_below(random, 8)];
    uint32_t wanted = 1 + (uint32_t)sim_random_below(random, 40);
    bool standing = sim_random_below(random, 4) == 0;
    if (reservation->count > 0) {
        extents_unreserve(extents, reservation);
        return;
    }
    struct extents_counts now = counts();
    uint32_t kept = standing ? 0 : 10, left = now.free - now.reserved, waiting = now.trimming - taken_count();
    int result = extents_reserve(extents, wanted, standing, reservation);
    cr_assert_eq(result, left + waiting >= kept + wanted ? 0 : MOTE_ENOSPC);
    cr_assert_eq(counts().trimming, left >= kept + wanted ? now.trimming : now.trimming - waiting, "what awaits its trim goes without only where it is needed");
}

static void step_give_back(uint64_t *random)
{
    if (model.run_count == 0)
        return;
    struct extent_run run = pick_run(random);
    switch (sim_random_below(random, 8)) {
    case 0:
        extents_release_unused(extents, run);
        set_run(run, USED, FREE);
        return;
    case 1:
        if (count_state(BAD) < 30) {
            extents_retire(extents, run.first);
            set_run((struct extent_run){run.first, 1}, USED, BAD);
            run = (struct extent_run){run.first + 1, run.count - 1};
        }
        break;
    default:
        break;
    }
    if (run.count == 0)
        return;
    uint64_t blockers = 0;
    for (int i = 0; i < PINS; i++)
        blockers |= model.pinned[i] ? UINT64_C(1) << i : 0;
    extents_free(extents, run);
    set_run(run, USED, FREED);
    for (uint32_t i = run.first; i < run.first + run.count; i++)
        model.blockers[i] = blockers;
}

static void step_pin(uint64_t *random)
{
    uint64_t at = sim_random_below(random, PINS);
    if (!model.pinned[at]) {
        model.pins[at] = extents_pin(extents);
        model.pinned[at] = true;
        return;
    }
    extents_unpin(extents, model.pins[at]);
    model.pinned[at] = false;
    for (int i = 0; i < EXTENTS; i++)
        model.blockers[i] &= ~(UINT64_C(1) << at);
}

static void step_trim(uint64_t *random)
{
    if (model.trim_count > 0 && sim_random_below(random, 2)) {
        struct extent_run run = model.trims[--model.trim_count];
        extents_trimmed(extents, run);
        set_run(run, TAKEN, FREE);
        return;
    }
    struct extent_run runs[3];
    uint32_t count = extents_take_trimmable(extents, runs, 3);
    for (uint32_t i = 0; i < count; i++) {
        for (uint32_t at = runs[i].first; at < runs[i].first + runs[i].count; at++)
            cr_assert_eq(model.blockers[at], 0, "extent %u was to be trimmed before its pins were gone", at);
        set_run(runs[i], FREED, TAKEN);
        model.trims[model.trim_count++] = runs[i];
    }
    cr_assert(model.trim || count == 0);
}

static void check_counts(void)
{
    struct extents_counts now = counts();
    uint32_t reserved = 0;
    for (int i = 0; i < 8; i++)
        reserved += model.reservations[i].count;
    cr_assert_eq(now.reserved, reserved);
    cr_assert_eq(now.used, count_state(USED));
    cr_assert_eq(now.bad, count_state(BAD));
    cr_assert_leq(now.quarantined + now.trimming, count_state(FREED) + count_state(TAKEN));
}

/* Everything goes back: nothing may be lost. */
static void settle(uint64_t *random)
{
    for (int i = 0; i < PINS; i++)
        if (model.pinned[i])
            extents_unpin(extents, model.pins[i]);
    memset(model.pinned, 0, sizeof model.pinned);
    memset(model.blockers, 0, sizeof model.blockers);
    for (int i = 0; i < 8; i++)
        extents_unreserve(extents, &model.reservations[i]);
    while (model.run_count > 0)
        extents_free(extents, pick_run(random));
    struct extent_run run;
    while (extents_take_trimmable(extents, &run, 1) == 1)
        extents_trimmed(extents, run);
    while (model.trim_count > 0)
        extents_trimmed(extents, model.trims[--model.trim_count]);
    cr_assert_eq(counts().free, EXTENTS - count_state(BAD));
}

Test(blockdev_extents, random_calls_keep_every_promise, .timeout = 60)
{
    uint64_t seed = requests_seed("random_calls"), random = seed;
    for (int round = 0; round < 40; round++) {
        make(EXTENTS);
        memset(&model, 0, sizeof model);
        model.trim = round % 2;
        extents_set_trim(extents, model.trim);
        extents_set_standing_reserve(extents, 10);
        for (int step = 0; step < 4000; step++) {
            switch (sim_random_below(&random, 8)) {
            case 0: case 1: case 2: step_allocate(&random); break;
            case 3: step_reserve(&random); break;
            case 4: case 5: step_give_back(&random); break;
            case 6: step_pin(&random); break;
            default: step_trim(&random); break;
            }
            check_counts();
        }
        settle(&random);
        drop();
    }
}

Test(blockdev_extents, memory_that_is_not_there_is_an_error)
{
    cr_assert_eq(memory_create(256 * 1024, false, &memory), 0);
    cr_assert_eq(memory_seal(memory), 0);
    cr_expect_eq(extents_create(memory, 1 << 24, &extents), MOTE_EBUDGET);
    memory_destroy(memory);
}

/* ---- Growing ---- */

Test(blockdev_extents, growth_adds_free_extents_and_keeps_what_each_other_is)
{
    static const uint32_t sizes[] = {70, 70, 71, 127, 128, 129, 192, 1000, 1001};
    struct extents_growth *growth;
    struct extent_reservation reservation;
    struct extent_run run, runs[4];
    make(70);
    cr_assert_eq(extents_mark_used(extents, (struct extent_run){3, 60}), 0);
    cr_assert_eq(extents_mark_bad(extents, 69), 0);
    extents_set_trim(extents, true);
    cr_assert_eq(extents_reserve(extents, 2, false, &reservation), 0);
    uint64_t pin = extents_pin(extents);
    extents_free(extents, (struct extent_run){10, 5});
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct extents_counts before = counts();
        cr_assert_eq(extents_growth_prepare(extents, sizes[i], &growth), 0);
        cr_assert_eq(counts().total, before.total);
        extents_growth_install(extents, growth);
        struct extents_counts after = counts();
        cr_assert_eq(after.total, sizes[i]);
        cr_assert_eq(after.free, before.free + (sizes[i] - before.total));
        cr_assert_eq(after.used, 55);
        cr_assert_eq(after.quarantined, 5);
        cr_assert_eq(after.bad, 1);
        cr_assert_eq(after.reserved, 2);
    }
    extents_unpin(extents, pin);
    cr_assert_eq(extents_take_trimmable(extents, runs, 4), 1);
    cr_assert_eq(runs[0].first, 10);
    cr_assert_eq(runs[0].count, 5);
    extents_trimmed(extents, runs[0]);
    extents_unreserve(extents, &reservation);
    run = take(931); /* all that is new, in one piece with nothing between */
    cr_assert_eq(run.first, 70);
    cr_assert_eq(counts().free, 3 + 5 + 6);
    extents_free(extents, run);
    drop();
}

Test(blockdev_extents, growth_that_is_abandoned_or_lacks_memory_changes_nothing)
{
    struct extents_growth *growth;
    make(100);
    memory_fail_after(memory, 0, true);
    cr_assert_eq(extents_growth_prepare(extents, 200, &growth), MOTE_EBUDGET);
    memory_fail_after(memory, -1, false);
    extents_growth_abandon(extents, growth);
    cr_assert_eq(extents_growth_prepare(extents, 200, &growth), 0);
    extents_growth_abandon(extents, growth);
    cr_assert_eq(counts().total, 100);
    cr_assert_eq(counts().free, 100);
    cr_assert_eq(extents_mark_used(extents, (struct extent_run){100, 1}), MOTE_EDAMAGED);
    drop();
}

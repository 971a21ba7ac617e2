/* transaction_stress_test.c: what concurrent transactions, batches and single writes did, recorded and then judged as a history; and a bank whose sum never changes. Beside flushes, compactions and checkpoints; seeded, though threads take
 * turns as they like. A plain program, for ThreadSanitizer as well. MOTE_TEST_SCALE (percent) shortens it.
 *
 * The history. Each register is a key; each value is written by one event only. An event notes the seq of its snapshot, what it read, what it wrote, and the seq of its commit. Afterwards
 *   - searches and counts of a transaction see what its scans see, its own writes among it;
 *   - each read saw the newest value that was committed at or before its snapshot (or its own): no dirty read (values of refused, aborted and rolled back writes are nobody's), no fuzzy read (the registers are read twice), no lost commit;
 *   - no committed transaction has another's write to one of its keys between its snapshot and its commit: no lost update;
 *   - a refused transaction has one: no refusal without a cause;
 *   - no snapshot lies between the first and the last seq of a batch or a transaction: no part of one;
 *   - a kill and a recovery leave the newest values. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/support/states.h"

enum { WRITERS = 4, REGISTERS = STATE_TABLES * STATE_KEYS, READS_MAX = 8, WRITES_MAX = 48, ACCOUNTS = STATE_KEYS, START_SUM = 1000 };
enum { EVENT_READ, EVENT_WRITE, EVENT_TRANSACTION };

struct access {
    uint32_t number; /* of the register */
    int64_t value;   /* 0: no row */
};
struct event {
    uint32_t kind, read_count, write_count;
    int result;
    uint64_t snapshot, commit; /* seqs */
    struct access reads[READS_MAX], writes[WRITES_MAX];
};
struct stress {
    struct fixture fixture;
    struct state_tables tables;
    uint64_t events_each;
    _Atomic uint32_t stop;
    _Atomic uint64_t failures, conflicts, commits, sums;
};
struct actor {
    struct stress *stress;
    pthread_t thread;
    uint32_t number;
    uint64_t random;
    int64_t values; /* written so far */
    struct event *events;
    uint64_t event_count;
};

static uint64_t passed;

static uint64_t draw(struct actor *actor, uint64_t below) { return fixture_random(&actor->random) % below; }

static void fail(struct stress *stress, const char *what, uint64_t a, uint64_t b)
{
    printf("FAILED %s (%llu, %llu)\n", what, (unsigned long long)a, (unsigned long long)b);
    fflush(stdout);
    atomic_fetch_add(&stress->failures, 1);
}

static size_t make_row(uint32_t number, int64_t value, char text[STATE_TEXT_BYTES], struct mote_value row[3]) { return states_row(number / STATE_KEYS, number % STATE_KEYS, value, text, row); }

static mote_table *table_of(const struct stress *stress, uint32_t number) { return stress->tables.tables[number / STATE_KEYS]; }

/* Values tell their writer and when it wrote them; a register is written once in an event. */
static void draw_writes(struct actor *actor, struct event *event, uint32_t count)
{
    bool taken[REGISTERS] = {false};
    while (event->write_count < count) {
        uint32_t number = (uint32_t)draw(actor, REGISTERS);
        if (taken[number])
            continue;
        taken[number] = true;
        int64_t value = draw(actor, 6) ? ++actor->values * WRITERS + actor->number : 0;
        event->writes[event->write_count++] = (struct access){number, value};
    }
}

/* ---- The actors ---- */

static int64_t get_value(struct stress *stress, mote_transaction *transaction, const mote_snapshot *snapshot, uint32_t number)
{
    const struct mote_value key = value_i64(number % STATE_KEYS);
    mote_row *row = NULL;
    int result = transaction ? mote_transaction_get(transaction, table_of(stress, number), &key, 1, &row) : mote_get_at(table_of(stress, number), snapshot, &key, 1, &row);
    int64_t value = result ? 0 : states_row_value(row);
    if (result != MOTE_ENOTFOUND)
        must(result);
    mote_row_free(row);
    return value;
}

static void read_some(struct actor *actor, struct event *event, mote_transaction *transaction, const mote_snapshot *snapshot)
{
    event->read_count = 2 + (uint32_t)draw(actor, READS_MAX - 1);
    for (uint32_t i = 0; i < event->read_count; i++) {
        uint32_t number = (uint32_t)draw(actor, REGISTERS);
        event->reads[i] = (struct access){number, get_value(actor->stress, transaction, snapshot, number)};
    }
}

/* The same once more. */
static void read_again(struct actor *actor, const struct event *event, mote_transaction *transaction, const mote_snapshot *snapshot)
{
    for (uint32_t i = 0; i < event->read_count; i++)
        if (get_value(actor->stress, transaction, snapshot, event->reads[i].number) != event->reads[i].value)
            fail(actor->stress, "a value changed between two reads of one snapshot", event->reads[i].number, event->snapshot);
}

static void write_in(struct actor *actor, mote_transaction *transaction, const struct access *access)
{
    char text[STATE_TEXT_BYTES];
    struct mote_value row[3];
    mote_table *table = table_of(actor->stress, access->number);
    size_t count = make_row(access->number, access->value, text, row);
    must(access->value ? mote_transaction_put(transaction, table, row, count) : mote_transaction_delete(transaction, table, row, 1));
}

/* A table as the transaction's searches and counts see it, which must be what its scans see, whatever others commit meanwhile. */
static void read_in_three_ways(struct actor *actor, mote_transaction *transaction, uint64_t snapshot)
{
    struct stress *stress = actor->stress;
    unsigned t = (unsigned)draw(actor, STATE_TABLES);
    struct state scanned = {0}, searched = {0};
    struct mote_search_options options = MOTE_SEARCH_OPTIONS_INIT;
    struct mote_hit_chunk chunk;
    mote_cursor *cursor;
    mote_hits *hits;
    uint64_t count, rows = 0;
    must(mote_transaction_search(transaction, stress->tables.tables[t], &options, &hits));
    must(mote_transaction_count(transaction, stress->tables.tables[t], NULL, &count));
    must(mote_transaction_scan(transaction, stress->tables.tables[t], NULL, &cursor));
    must(states_read_cursor(t, cursor, &scanned));
    do {
        must(mote_hits_next(hits, &chunk));
        const struct mote_chunk values = {chunk.row_count, chunk.column_count, chunk.columns};
        for (size_t i = 0; i < chunk.row_count; i++)
            searched.values[t][chunk_value(&values, 0, i).as.i64] = chunk_value(&values, 1, i).as.i64;
        rows += chunk.row_count;
    } while (chunk.row_count > 0);
    mote_hits_close(hits);
    if (!states_equal(&scanned, &searched) || rows != count)
        fail(stress, "a search or a count of a transaction does not see what its scan sees", t, snapshot);
}

static void run_transaction(struct actor *actor, struct event *event)
{
    struct stress *stress = actor->stress;
    struct event dropped = {0};
    mote_transaction *transaction;
    uint64_t savepoint;
    event->kind = EVENT_TRANSACTION;
    must(mote_transaction_begin(stress->fixture.db, NULL, &transaction));
    event->snapshot = mote_snapshot_seq(mote_transaction_snapshot(transaction));
    read_some(actor, event, transaction, NULL);
    draw_writes(actor, event, 1 + (uint32_t)draw(actor, draw(actor, 8) ? 4 : WRITES_MAX));
    for (uint32_t i = 0; i < event->write_count; i++)
        write_in(actor, transaction, &event->writes[i]);
    if (draw(actor, 3) == 0) {
        /* Taken back: nobody may ever see these. */
        must(mote_transaction_savepoint(transaction, &savepoint));
        draw_writes(actor, &dropped, 3);
        for (uint32_t i = 0; i < dropped.write_count; i++)
            write_in(actor, transaction, &dropped.writes[i]);
        must(mote_transaction_rollback_to(transaction, savepoint));
    }
    for (uint32_t i = 0; i < event->write_count; i++)
        if (get_value(stress, transaction, NULL, event->writes[i].number) != event->writes[i].value)
            fail(stress, "a transaction does not read its own write", event->writes[i].number, event->snapshot);
    read_in_three_ways(actor, transaction, event->snapshot);
    read_again(actor, event, NULL, mote_transaction_snapshot(transaction));
    if (draw(actor, 10) == 0) {
        mote_transaction_abort(transaction);
        event->kind = EVENT_READ;
        return;
    }
    event->result = mote_transaction_commit(transaction, NULL, &event->commit);
    if (event->result != MOTE_ECONFLICT)
        must(event->result);
    atomic_fetch_add(event->result ? &stress->conflicts : &stress->commits, 1);
}

static void run_batch(struct actor *actor, struct event *event)
{
    struct stress *stress = actor->stress;
    mote_write *write;
    event->kind = EVENT_WRITE;
    draw_writes(actor, event, 1 + (uint32_t)draw(actor, draw(actor, 3) ? 5 : WRITES_MAX));
    must(mote_write_begin(stress->fixture.db, &write));
    for (uint32_t i = 0; i < event->write_count; i++) {
        char text[STATE_TEXT_BYTES];
        struct mote_value row[3];
        const struct access *access = &event->writes[i];
        size_t count = make_row(access->number, access->value, text, row);
        must(access->value ? mote_write_put(write, table_of(stress, access->number), row, count) : mote_write_delete(write, table_of(stress, access->number), row, 1));
    }
    must(mote_write_commit(write, NULL, &event->commit));
    mote_write_free(write);
}

static void run_single(struct actor *actor, struct event *event)
{
    char text[STATE_TEXT_BYTES];
    struct mote_value row[3];
    event->kind = EVENT_WRITE;
    draw_writes(actor, event, 1);
    const struct access *access = &event->writes[0];
    size_t count = make_row(access->number, access->value, text, row);
    mote_table *table = table_of(actor->stress, access->number);
    must(access->value ? mote_append(table, row, count, NULL, &event->commit) : mote_delete(table, row, 1, NULL, &event->commit));
}

/* All registers of a snapshot, by scans; only some are noted, but a scan sees them all. */
static void run_reader(struct actor *actor, struct event *event)
{
    struct stress *stress = actor->stress;
    mote_snapshot *snapshot;
    struct state found;
    event->kind = EVENT_READ;
    must(mote_snapshot_take(stress->fixture.db, NULL, &snapshot));
    event->snapshot = mote_snapshot_seq(snapshot);
    must(states_read(&stress->tables, snapshot, draw(actor, 2) == 0, &found));
    event->read_count = READS_MAX;
    for (uint32_t i = 0; i < READS_MAX; i++) {
        uint32_t number = (uint32_t)draw(actor, REGISTERS);
        event->reads[i] = (struct access){number, found.values[number / STATE_KEYS][number % STATE_KEYS]};
    }
    read_again(actor, event, NULL, snapshot);
    mote_snapshot_release(snapshot);
}

static void *act(void *argument)
{
    struct actor *actor = argument;
    while (actor->event_count < actor->stress->events_each) {
        struct event *event = &actor->events[actor->event_count++];
        switch (draw(actor, 8)) {
        case 0:
            run_batch(actor, event);
            break;
        case 1:
            run_single(actor, event);
            break;
        case 2:
            run_reader(actor, event);
            break;
        default:
            run_transaction(actor, event);
        }
    }
    return NULL;
}

static void *disturb(void *argument)
{
    struct actor *actor = argument;
    mote_db *db = actor->stress->fixture.db;
    for (unsigned i = 0; !atomic_load(&actor->stress->stop); i++) {
        char name[16];
        snprintf(name, sizeof name, "d%u", i);
        switch (draw(actor, 6)) {
        case 0:
        case 1:
            must(mote_flush(db));
            break;
        case 2:
            must(mote_compact(db, NULL));
            break;
        case 3:
            must(mote_checkpoint(db));
            break;
        default:
            must(mote_snapshot_take(db, name, NULL));
            must(mote_snapshot_drop(db, name));
        }
        nanosleep(&(struct timespec){.tv_nsec = 500000}, NULL);
    }
    return NULL;
}

/* ---- The judge ---- */

struct version {
    uint64_t first, commit; /* seqs of the write that it belongs to */
    int64_t value;
};
struct history {
    struct version *versions[REGISTERS]; /* ascending by commit */
    uint64_t counts[REGISTERS], capacity[REGISTERS];
    struct version *writes; /* all of more than one row */
    uint64_t write_count, write_capacity;
};

static void push(struct version **list, uint64_t *count, uint64_t *capacity, struct version version)
{
    if (*count == *capacity) {
        *capacity = *capacity ? 2 * *capacity : 64;
        *list = realloc(*list, *capacity * sizeof **list);
        require(*list != NULL);
    }
    (*list)[(*count)++] = version;
}

static int compare_versions(const void *a, const void *b)
{
    const struct version *x = a, *y = b;
    return (x->commit > y->commit) - (x->commit < y->commit);
}

static void gather(struct history *history, const struct actor *actors)
{
    for (uint32_t a = 0; a < WRITERS; a++)
        for (uint64_t e = 0; e < actors[a].event_count; e++) {
            const struct event *event = &actors[a].events[e];
            if (event->kind == EVENT_READ || event->result)
                continue;
            struct version version = {event->commit - event->write_count + 1, event->commit, 0};
            if (event->write_count > 1)
                push(&history->writes, &history->write_count, &history->write_capacity, version);
            for (uint32_t i = 0; i < event->write_count; i++) {
                uint32_t number = event->writes[i].number;
                version.value = event->writes[i].value;
                push(&history->versions[number], &history->counts[number], &history->capacity[number], version);
            }
        }
    for (uint32_t i = 0; i < REGISTERS; i++)
        if (history->counts[i])
            qsort(history->versions[i], history->counts[i], sizeof(struct version), compare_versions);
    if (history->write_count)
        qsort(history->writes, history->write_count, sizeof *history->writes, compare_versions);
}

/* The number of versions that are committed at or before the seq. */
static uint64_t count_until(const struct version *versions, uint64_t count, uint64_t seq)
{
    uint64_t low = 0, high = count;
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        if (versions[middle].commit <= seq)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static int64_t value_at(const struct history *history, uint32_t number, uint64_t seq)
{
    uint64_t count = count_until(history->versions[number], history->counts[number], seq);
    return count ? history->versions[number][count - 1].value : 0;
}

static void judge_reads(struct stress *stress, const struct history *history, const struct event *event)
{
    for (uint32_t i = 0; i < event->read_count; i++)
        if (event->reads[i].value != value_at(history, event->reads[i].number, event->snapshot))
            fail(stress, "a read did not see the newest value of its snapshot", event->reads[i].number, event->snapshot);
    uint64_t next = count_until(history->writes, history->write_count, event->snapshot);
    if (next < history->write_count && history->writes[next].first <= event->snapshot)
        fail(stress, "a snapshot lies within a write", event->snapshot, history->writes[next].commit);
}

static void judge_commit(struct stress *stress, const struct history *history, const struct event *event)
{
    bool contested = false;
    for (uint32_t i = 0; i < event->write_count; i++) {
        uint32_t number = event->writes[i].number;
        uint64_t before = count_until(history->versions[number], history->counts[number], event->snapshot);
        const struct version *next = before < history->counts[number] ? &history->versions[number][before] : NULL;
        contested = contested || next;
        if (!event->result && (!next || next->commit != event->commit))
            fail(stress, "a committed transaction has another's write between its snapshot and its commit", number, event->commit);
    }
    if (event->result && !contested)
        fail(stress, "a transaction was refused without a cause", event->snapshot, event->write_count);
}

static void judge(struct stress *stress, const struct actor *actors, const struct history *history)
{
    for (uint32_t a = 0; a < WRITERS; a++)
        for (uint64_t e = 0; e < actors[a].event_count; e++) {
            const struct event *event = &actors[a].events[e];
            if (event->kind != EVENT_WRITE)
                judge_reads(stress, history, event);
            if (event->kind == EVENT_TRANSACTION)
                judge_commit(stress, history, event);
            passed++;
        }
}

/* Seqs that no committed write has: a transaction found its conflict only when it had them. */
static uint64_t count_passed_over(struct stress *stress, const struct actor *actors, uint64_t seq_before)
{
    uint64_t rows = 0;
    for (uint32_t a = 0; a < WRITERS; a++)
        for (uint64_t e = 0; e < actors[a].event_count; e++)
            rows += actors[a].events[e].kind != EVENT_READ && !actors[a].events[e].result ? actors[a].events[e].write_count : 0;
    return mote_visible_seq(stress->fixture.db) - seq_before - rows;
}

static void judge_recovered(struct stress *stress, const struct history *history)
{
    struct state found;
    must(mote_wait(stress->fixture.db, mote_visible_seq(stress->fixture.db), MOTE_FOREVER));
    fixture_crash(&stress->fixture);
    states_open(stress->fixture.db, &stress->tables);
    must(states_read(&stress->tables, NULL, false, &found));
    for (uint32_t i = 0; i < REGISTERS; i++)
        if (found.values[i / STATE_KEYS][i % STATE_KEYS] != value_at(history, i, UINT64_MAX))
            fail(stress, "a value was lost by a crash", i, 0);
}

static void begin(struct stress *stress, uint64_t round)
{
    memset(stress, 0, sizeof *stress);
    fixture_image(&stress->fixture, 64 << 20);
    stress->fixture.options.wal_frame_bytes_max = round % 2 ? 8192 : 0;
    stress->fixture.options.memtable_bytes = round % 3 ? 512 * 1024 : 4 << 20;
    stress->fixture.options.workers = 1 + round % 2;
    fixture_open(&stress->fixture);
    states_create(stress->fixture.db, &stress->tables);
}

static void run_history(uint64_t round, uint64_t events_each)
{
    struct stress *stress = calloc(1, sizeof *stress);
    struct history *history = calloc(1, sizeof *history);
    struct actor actors[WRITERS + 1] = {0};
    require(stress && history);
    begin(stress, round);
    stress->events_each = events_each;
    uint64_t seq_before = mote_visible_seq(stress->fixture.db);
    for (uint32_t i = 0; i <= WRITERS; i++) {
        actors[i] = (struct actor){.stress = stress, .number = i, .random = round * 1000 + i + 1};
        actors[i].events = i < WRITERS ? calloc(events_each, sizeof *actors[i].events) : NULL;
        require(i == WRITERS || actors[i].events);
        pthread_create(&actors[i].thread, NULL, i < WRITERS ? act : disturb, &actors[i]);
    }
    for (uint32_t i = 0; i < WRITERS; i++)
        pthread_join(actors[i].thread, NULL);
    atomic_store(&stress->stop, 1);
    pthread_join(actors[WRITERS].thread, NULL);
    gather(history, actors);
    judge(stress, actors, history);
    uint64_t passed_over = count_passed_over(stress, actors, seq_before);
    judge_recovered(stress, history);
    printf("history, seed %llu: %llu committed, %llu refused, %llu seqs passed over, %llu failures\n", (unsigned long long)round, (unsigned long long)atomic_load(&stress->commits),
           (unsigned long long)atomic_load(&stress->conflicts), (unsigned long long)passed_over, (unsigned long long)atomic_load(&stress->failures));
    fflush(stdout);
    fixture_close(&stress->fixture);
    must(mote_verify(stress->fixture.path, NULL, NULL));
    fixture_remove(&stress->fixture);
    if (atomic_load(&stress->failures))
        exit(1);
    for (uint32_t i = 0; i < WRITERS; i++)
        free(actors[i].events);
    for (uint32_t i = 0; i < REGISTERS; i++)
        free(history->versions[i]);
    free(history->writes);
    free(history);
    free(stress);
}

/* ---- The bank: accounts in two tables ---- */

static int put_account(struct stress *stress, mote_transaction *transaction, uint32_t number, int64_t balance)
{
    char text[STATE_TEXT_BYTES];
    struct mote_value row[3];
    size_t count = make_row(number, balance, text, row);
    return mote_transaction_put(transaction, table_of(stress, number), row, count);
}

static void *transfer(void *argument)
{
    struct actor *actor = argument;
    struct stress *stress = actor->stress;
    for (uint64_t done = 0; done < stress->events_each;) {
        uint32_t from = (uint32_t)draw(actor, 2 * ACCOUNTS), to = (uint32_t)draw(actor, 2 * ACCOUNTS);
        mote_transaction *transaction;
        if (from == to)
            continue;
        must(mote_transaction_begin(stress->fixture.db, NULL, &transaction));
        int64_t amount = (int64_t)draw(actor, 50), has = get_value(stress, transaction, NULL, from), gets = get_value(stress, transaction, NULL, to);
        if (has <= amount || amount == 0) {
            mote_transaction_abort(transaction);
            continue;
        }
        must(put_account(stress, transaction, from, has - amount));
        must(put_account(stress, transaction, to, gets + amount));
        int result = mote_transaction_commit(transaction, NULL, NULL);
        if (result != MOTE_ECONFLICT)
            must(result);
        done++;
        atomic_fetch_add(result ? &stress->conflicts : &stress->commits, 1);
    }
    return NULL;
}

static void check_sum(struct actor *actor, const struct state *state)
{
    int64_t sum = 0;
    for (uint32_t i = 0; i < 2 * ACCOUNTS; i++)
        sum += state->values[i / STATE_KEYS][i % STATE_KEYS];
    if (sum != 2 * ACCOUNTS * START_SUM)
        fail(actor->stress, "the bank's sum is another", (uint64_t)sum, 2 * ACCOUNTS * START_SUM);
    atomic_fetch_add(&actor->stress->sums, 1);
}

static void *audit(void *argument)
{
    struct actor *actor = argument;
    struct stress *stress = actor->stress;
    while (!atomic_load(&stress->stop)) {
        struct state state = {0};
        mote_transaction *transaction;
        mote_snapshot *snapshot;
        mote_cursor *cursor;
        must(mote_transaction_begin(stress->fixture.db, NULL, &transaction));
        for (unsigned t = 0; t < 2; t++) {
            must(mote_transaction_scan(transaction, stress->tables.tables[t], NULL, &cursor));
            must(states_read_cursor(t, cursor, &state));
        }
        mote_transaction_abort(transaction);
        check_sum(actor, &state);
        must(mote_snapshot_take(stress->fixture.db, NULL, &snapshot));
        must(states_read(&stress->tables, snapshot, true, &state));
        mote_snapshot_release(snapshot);
        check_sum(actor, &state);
    }
    return NULL;
}

static void run_bank(uint64_t round, uint64_t events_each)
{
    struct stress *stress = calloc(1, sizeof *stress);
    struct actor actors[WRITERS + 2] = {0};
    mote_transaction *transaction;
    require(stress != NULL);
    begin(stress, round);
    stress->events_each = events_each;
    must(mote_transaction_begin(stress->fixture.db, NULL, &transaction));
    for (uint32_t i = 0; i < 2 * ACCOUNTS; i++)
        must(put_account(stress, transaction, i, START_SUM));
    must(mote_transaction_commit(transaction, NULL, NULL));
    for (uint32_t i = 0; i < WRITERS + 2; i++) {
        actors[i] = (struct actor){.stress = stress, .number = i, .random = round * 2000 + i + 1};
        pthread_create(&actors[i].thread, NULL, i < WRITERS ? transfer : i == WRITERS ? audit : disturb, &actors[i]);
    }
    for (uint32_t i = 0; i < WRITERS; i++)
        pthread_join(actors[i].thread, NULL);
    atomic_store(&stress->stop, 1);
    pthread_join(actors[WRITERS].thread, NULL);
    pthread_join(actors[WRITERS + 1].thread, NULL);
    printf("bank, seed %llu: %llu transfers, %llu refused, %llu sums, %llu failures\n", (unsigned long long)round, (unsigned long long)atomic_load(&stress->commits), (unsigned long long)atomic_load(&stress->conflicts),
           (unsigned long long)atomic_load(&stress->sums), (unsigned long long)atomic_load(&stress->failures));
    fflush(stdout);
    passed += atomic_load(&stress->sums);
    fixture_remove(&stress->fixture);
    if (atomic_load(&stress->failures))
        exit(1);
    free(stress);
}

int main(void)
{
    uint64_t events_each = fixture_scale(600) < 40 ? 40 : fixture_scale(600);
    for (uint64_t round = 1; round <= 6; round++)
        run_history(round, events_each);
    for (uint64_t round = 1; round <= 3; round++)
        run_bank(round, events_each);
    printf("%llu passed, 0 failed\n", (unsigned long long)passed);
    return 0;
}

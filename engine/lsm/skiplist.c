/* skiplist.c: a lock-free ordered list, with fingers (memtable_private.h states the layout and the memory ordering).
 *
 * Insert: find at each level of the new tower the neighbours between which it belongs, then link from the bottom up. The neighbours come from the series' finger if they still enclose the key; else the search climbs the finger's levels until
 * one encloses it and descends from there, so that a key at distance d from the last one costs O(log d). Threads: any number of inserts and searches. Never fails. */
#include "engine/lsm/memtable_private.h"

#include <assert.h>

/* Neighbours of a key at each level. */
struct splice {
    uint32_t before[TOWER_HEIGHT_MAX];
    uint32_t after[TOWER_HEIGHT_MAX]; /* 0: the end */
};

static inline uint32_t load_link(const struct skiplist *list, uint32_t offset, uint32_t level)
{
    return atomic_load_explicit(&node_at(list, offset)->next[level], memory_order_acquire);
}

static inline bool node_is_before(const struct skip_node *node, const struct skip_target *target) { return node_compare(node, target) < 0; }

/* Walks right on a level from a node before the target to the last one before it. known_after: a node known not to be before the target. */
static inline uint32_t walk_level(const struct skiplist *list, const struct skip_target *target, uint32_t level, uint32_t before, uint32_t known_after, uint32_t *after)
{
    uint32_t next = load_link(list, before, level);
    while (next != 0 && next != known_after && node_is_before(node_at(list, next), target)) {
        before = next;
        next = load_link(list, before, level);
    }
    *after = next;
    return before;
}

void skiplist_reset(struct skiplist *list)
{
    struct skip_node *head = node_at(list, list->head);
    head->height = TOWER_HEIGHT_MAX;
    for (uint32_t level = 0; level < TOWER_HEIGHT_MAX; level++)
        atomic_store_explicit(&head->next[level], 0, memory_order_relaxed);
    for (uint32_t i = 0; i < list->finger_count; i++) {
        atomic_store_explicit(&list->fingers[i].tag, 0, memory_order_relaxed);
        for (uint32_t level = 0; level < TOWER_HEIGHT_MAX; level++)
            atomic_store_explicit(&list->fingers[i].before[level], 0, memory_order_relaxed);
    }
    atomic_store_explicit(&list->height, 1, memory_order_relaxed);
}

uint32_t skiplist_find(const struct skiplist *list, const struct skip_target *target, uint32_t *at_or_after)
{
    uint32_t before = list->head, after = 0;
    for (uint32_t level = atomic_load_explicit(&list->height, memory_order_relaxed); level-- > 0;)
        before = walk_level(list, target, level, before, after, &after);
    *at_or_after = after;
    return before;
}

uint32_t skiplist_last(const struct skiplist *list)
{
    uint32_t last = list->head;
    for (uint32_t level = atomic_load_explicit(&list->height, memory_order_relaxed); level-- > 0;)
        for (uint32_t next = load_link(list, last, level); next != 0; next = load_link(list, last, level))
            last = next;
    return last == list->head ? 0 : last;
}

/* The finger of a series: one of two neighbouring places, the one with its tag if there is one. *known: it was the series' own. NULL: the table has no fingers. */
static struct series_finger *find_finger(const struct skiplist *list, uint32_t tag, bool *known)
{
    *known = false;
    if (list->finger_count == 0)
        return NULL;
    uint32_t place = (tag >> 1) & (list->finger_count - 1);
    struct series_finger *first = &list->fingers[place];
    struct series_finger *second = &list->fingers[list->finger_count > 1 ? place ^ 1 : place];
    uint32_t first_tag = atomic_load_explicit(&first->tag, memory_order_relaxed);
    *known = true;
    if (first_tag == tag)
        return first;
    uint32_t second_tag = atomic_load_explicit(&second->tag, memory_order_relaxed);
    if (second_tag == tag)
        return second;
    *known = false;
    if (first_tag == 0 || second_tag == 0)
        return first_tag == 0 ? first : second;
    return tag >> 31 ? first : second;
}

/* Does the finger's entry of a level enclose the target? splice gets the neighbours. known_before, known_after: what the levels below found out. */
static inline bool finger_encloses(const struct skiplist *list, const struct series_finger *finger, const struct skip_target *target, uint32_t level, uint32_t *known_before, uint32_t *known_after, struct splice *splice)
{
    uint32_t before = atomic_load_explicit(&finger->before[level], memory_order_acquire);
    if (before == 0)
        return false;
    if (before != *known_before && before != list->head && !node_is_before(node_at(list, before), target))
        return false;
    *known_before = before;
    uint32_t after = load_link(list, before, level);
    if (after != 0 && after != *known_after && node_is_before(node_at(list, after), target))
        return false;
    *known_after = after;
    splice->before[level] = before;
    splice->after[level] = after;
    return true;
}

/* Neighbours at the levels below `top` (not below the new tower's height). Returns how many levels, from the bottom, were searched anew; above them the finger's entries stand. */
static uint32_t find_splice(const struct skiplist *list, const struct series_finger *finger, const struct skip_target *target, uint32_t height, uint32_t top, struct splice *splice)
{
    uint32_t searched = finger ? 0 : top;
    uint32_t known_before = 0, known_after = 0;
    for (uint32_t level = 0; finger && level < top; level++) {
        if (!finger_encloses(list, finger, target, level, &known_before, &known_after, splice))
            searched = level + 1;
        else if (level + 1 >= height)
            break;
    }
    uint32_t before = searched == top ? list->head : splice->before[searched];
    uint32_t after = searched == top ? 0 : splice->after[searched];
    for (uint32_t level = searched; level-- > 0;) {
        before = walk_level(list, target, level, before, after, &after);
        splice->before[level] = before;
        splice->after[level] = after;
    }
    return searched;
}

static void raise_height(struct skiplist *list, uint32_t height)
{
    uint32_t present = atomic_load_explicit(&list->height, memory_order_relaxed);
    while (present < height && !atomic_compare_exchange_weak_explicit(&list->height, &present, height, memory_order_relaxed, memory_order_relaxed))
        continue;
}

/* Publishes the node at one level; neighbours that other inserts have pushed apart meanwhile are looked for again. */
static void link_level(const struct skiplist *list, const struct skip_target *target, uint32_t offset, uint32_t level, uint32_t before, uint32_t after)
{
    struct skip_node *node = node_at(list, offset);
    for (;;) {
        atomic_store_explicit(&node->next[level], after, memory_order_relaxed);
        if (atomic_compare_exchange_strong_explicit(&node_at(list, before)->next[level], &after, offset, memory_order_release, memory_order_relaxed))
            return;
        before = walk_level(list, target, level, before, 0, &after);
    }
}

void skiplist_link(struct skiplist *list, const struct skip_target *target, uint32_t offset, uint32_t series_tag)
{
    uint32_t height = node_at(list, offset)->height;
    assert(height >= 1 && height <= TOWER_HEIGHT_MAX && series_tag != 0);
    bool known;
    struct series_finger *finger = find_finger(list, series_tag, &known);
    raise_height(list, height);
    uint32_t top = atomic_load_explicit(&list->height, memory_order_relaxed);
    struct splice splice;
    uint32_t searched = find_splice(list, known ? finger : NULL, target, height, top, &splice);
    for (uint32_t level = 0; level < height; level++)
        link_level(list, target, offset, level, splice.before[level], splice.after[level]);
    if (!finger)
        return;
    for (uint32_t level = 0; level < height; level++)
        atomic_store_explicit(&finger->before[level], offset, memory_order_release);
    for (uint32_t level = height; level < searched; level++)
        atomic_store_explicit(&finger->before[level], splice.before[level], memory_order_release);
    if (!known) {
        for (uint32_t level = searched; level < TOWER_HEIGHT_MAX; level++)
            atomic_store_explicit(&finger->before[level], list->head, memory_order_release);
        atomic_store_explicit(&finger->tag, series_tag, memory_order_relaxed);
    }
}

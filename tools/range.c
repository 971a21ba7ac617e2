/* range.c: times and keys that bound what is read (range.h). */
#include "tools/range.h"

int range_parse(const struct tool_common *common, mote_table *table, const struct mote_table_info *info,
                const struct range_words *words, struct range *range, struct mote_scan_options *options)
{
    int result = 0;
    *range = (struct range){0};
    if (words->key)
        result = key_parse_list(common, table, info, words->key, &range->key);
    if (!result && words->key_from)
        result = key_parse_list(common, table, info, words->key_from, &range->from);
    if (!result && words->key_to)
        result = key_parse_list(common, table, info, words->key_to, &range->to);
    if (!result)
        result = time_range_parse(common, table, info, words->from, words->to, &options->use_time_range, &options->time_from_ns, &options->time_to_ns);
    options->key_prefix = range->key.count ? range->key.values : NULL;
    options->key_prefix_count = range->key.count;
    options->key_from = range->from.count ? range->from.values : NULL;
    options->key_from_count = range->from.count;
    options->key_to = range->to.count ? range->to.values : NULL;
    options->key_to_count = range->to.count;
    return result;
}

void range_free(struct range *range)
{
    key_free(&range->to);
    key_free(&range->from);
    key_free(&range->key);
}

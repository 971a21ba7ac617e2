/* oracle_text.c: what a text index answers, against the rows that a scan found (oracle.h): the rows of a few queries, by looking at every word of every text; and that their ranking is one: by score, then by key, the first few the first
 * few of all. Which scores, the unit tests look at (text_model.h). */
#include <stdlib.h>
#include <string.h>

#include "tests/support/oracle.h"

enum { FEW = 5 };

/* A query, and what it means: a row matches if a word begins with a and none with b. NULL: nothing does. The texts are of small letters, digits and signs of ASCII. */
struct question {
    const char *words, *a, *b;
};
static const struct question questions[] = {{"a*", "a", NULL}, {"b* NOT ba*", "b", "ba"}, {"key OR key*", "key", NULL}, {"1* NOT 11*", "1", "11"}, {"c* AND ca*", "ca", NULL}};

static bool is_letter(uint8_t c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); }

static bool has_word(const uint8_t *text, uint32_t text_bytes, const char *prefix)
{
    size_t length = strlen(prefix);
    for (uint32_t i = 0; i + length <= text_bytes; i++)
        if ((i == 0 || !is_letter(text[i - 1])) && memcmp(text + i, prefix, length) == 0)
            return true;
    return false;
}

static bool matches(const struct model_schema *schema, const uint8_t *row, uint32_t column, const struct question *question)
{
    const uint8_t *cell = row_cell(schema, row, column);
    if (cell[0] == 0)
        return false;
    uint32_t text_bytes;
    memcpy(&text_bytes, cell + 1, sizeof text_bytes);
    return has_word(cell + 5, text_bytes, question->a) && !(question->b && has_word(cell + 5, text_bytes, question->b));
}

struct asking {
    struct oracle *oracle;
    const struct content_table *table;
    const struct mote_index_info *info;
    const struct question *question;
    uint32_t row; /* of the content, behind the last that was found */
    uint64_t count;
    double last_score, few[FEW];
    uint8_t last[MODEL_ROW_BYTES_MAX * 2];
};

static const uint8_t *content_row(const struct asking *asking, uint32_t row) { return asking->oracle->content.bytes + asking->oracle->content.row_at[row]; }

/* Unranked hits come by key: each is the next row of the content that matches. */
static bool take_unranked(struct asking *asking, const uint8_t *cells, size_t size_bytes)
{
    const struct content_table *table = asking->table;
    uint32_t end = table->row_first + table->row_count;
    while (asking->row < end && !matches(&table->schema, content_row(asking, asking->row), asking->info->columns[0], asking->question))
        asking->row++;
    if (asking->row == end)
        return false;
    const size_t *at = &asking->oracle->content.row_at[asking->row];
    bool same = at[1] - at[0] == size_bytes && memcmp(content_row(asking, asking->row), cells, size_bytes) == 0;
    asking->row++;
    return same;
}

static bool take_ranked(struct asking *asking, const uint8_t *cells, size_t size_bytes, double score, bool first_few)
{
    const struct model_schema *schema = &asking->table->schema;
    bool good = score > 0 && matches(schema, cells, asking->info->columns[0], asking->question);
    if (asking->count > 0)
        good = good && (score < asking->last_score || (score <= asking->last_score && row_compare_keys(schema, asking->last, cells) < 0));
    if (asking->count < FEW && !first_few)
        asking->few[asking->count] = score;
    else if (asking->count < FEW)
        good = good && memcmp(&asking->few[asking->count], &score, sizeof score) == 0;
    asking->last_score = score;
    memcpy(asking->last, cells, size_bytes);
    return good;
}

static int ask(struct asking *asking, uint64_t limit, bool ranked)
{
    const struct content_table *table = asking->table;
    struct mote_search_options options = MOTE_SEARCH_OPTIONS_INIT;
    struct mote_term term = {.kind = MOTE_TERM_WORDS, .index = asking->info->name, .words = asking->question->words};
    struct mote_hit_chunk chunk;
    uint32_t positions[MODEL_COLUMNS_MAX];
    mote_hits *hits;
    bool good = true;
    for (uint32_t i = 0; i < table->schema.column_count; i++)
        positions[i] = i;
    options.terms = &term;
    options.term_count = 1;
    options.rank_by = ranked ? 1 : MOTE_RANK_NONE;
    options.limit = limit;
    options.columns = positions;
    options.column_count = table->schema.column_count;
    options.chunk_rows = 64;
    asking->count = 0;
    asking->row = table->row_first;
    int result = mote_search(table->handle, &options, &hits);
    if (result)
        return oracle_fail_code(asking->oracle, result, "a search of table %s for %s", table->schema.name, term.words);
    do {
        result = mote_hits_next(hits, &chunk);
        const struct mote_chunk rows = {chunk.row_count, chunk.column_count, chunk.columns};
        for (size_t i = 0; !result && good && i < chunk.row_count; i++, asking->count++) {
            uint8_t cells[MODEL_ROW_BYTES_MAX * 2];
            size_t size_bytes = oracle_row_from_chunk(&table->schema, &rows, i, cells);
            good = ranked ? take_ranked(asking, cells, size_bytes, chunk.scores[i], limit > 0) : take_unranked(asking, cells, size_bytes);
        }
    } while (!result && good && chunk.row_count > 0);
    mote_hits_close(hits);
    if (result)
        return oracle_fail_code(asking->oracle, result, "the hits of a search of table %s for %s", table->schema.name, term.words);
    return good ? MOTE_OK : oracle_fail(asking->oracle, "a search of table %s for %s finds a wrong row, or in another order: hit %llu%s", table->schema.name, term.words, (unsigned long long)asking->count, ranked ? ", ranked" : "");
}

static int check_question(struct asking *asking)
{
    const struct content_table *table = asking->table;
    int result = ask(asking, 0, false);
    uint64_t all = asking->count, wanted = all < FEW ? all : FEW;
    for (uint32_t row = asking->row; !result && row < table->row_first + table->row_count; row++)
        if (matches(&table->schema, content_row(asking, row), asking->info->columns[0], asking->question))
            return oracle_fail(asking->oracle, "a search of table %s for %s misses row %u of %u", table->schema.name, asking->question->words, row - table->row_first, table->row_count);
    if (!result)
        result = ask(asking, 0, true);
    if (!result && asking->count != all)
        return oracle_fail(asking->oracle, "a ranked search of table %s for %s finds %llu rows, not %llu", table->schema.name, asking->question->words, (unsigned long long)asking->count, (unsigned long long)all);
    if (!result)
        result = ask(asking, FEW, true);
    if (!result && asking->count != wanted)
        return oracle_fail(asking->oracle, "the first %u rows of table %s for %s are %llu", FEW, table->schema.name, asking->question->words, (unsigned long long)asking->count);
    return result;
}

int oracle_check_text(struct oracle *oracle, const struct content_table *table, const struct mote_index_info *info)
{
    struct asking *asking = malloc(sizeof *asking);
    int result = MOTE_OK;
    if (!asking)
        abort();
    for (size_t i = 0; i < sizeof questions / sizeof questions[0] && !result; i++) {
        *asking = (struct asking){.oracle = oracle, .table = table, .info = info, .question = &questions[i]};
        result = check_question(asking);
    }
    free(asking);
    return result;
}

/* search_terms.c: see search_terms.h.
 *
 * A condition of --where: COLUMN = V, COLUMN < V, also <= > >=; COLUMN in (V, V, ...); COLUMN prefix V; COLUMN is null;
 * COLUMN is not null. A name with blanks is written "name", a value with blanks at its ends, commas or parentheses
 * 'value', with '' for a '. Two bounds of one column become one range.
 */
#include "tools/search_terms.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "tools/columns.h"
#include "tools/number.h"

enum { VECTOR_TEXT_MAX = 1 << 20 };

struct parse {
    const struct tool_common *common;
    mote_table *table;
    const struct mote_table_info *info;
    struct search_terms *terms;
};

/* ---- Memory, terms ---- */

static void keep(struct search_terms *terms, void *piece)
{
    if (terms->piece_count == terms->piece_capacity) {
        terms->piece_capacity = 2 * terms->piece_capacity + 16;
        terms->pieces = tool_realloc(terms->pieces, terms->piece_capacity * sizeof *terms->pieces);
    }
    terms->pieces[terms->piece_count++] = piece;
}

void search_terms_free(struct search_terms *terms)
{
    for (size_t i = 0; i < terms->piece_count; i++)
        free(terms->pieces[i]);
    free(terms->pieces);
    terms->pieces = NULL;
    terms->piece_count = terms->piece_capacity = 0;
}

static struct mote_term *add_term(const struct parse *parse, uint32_t kind)
{
    struct search_terms *terms = parse->terms;
    if (terms->count == MOTE_SEARCH_TERMS_MAX) {
        tool_refuse(parse->common, TOOL_USAGE, 0, "a search has at most %d terms", MOTE_SEARCH_TERMS_MAX);
        return NULL;
    }
    struct mote_term *term = &terms->terms[terms->count++];
    *term = (struct mote_term){.kind = kind};
    return term;
}

/* ---- Conditions ---- */

static const char *skip_blanks(const char *at)
{
    while (*at == ' ' || *at == '\t')
        at++;
    return at;
}

static bool is_name_end(char c) { return c == 0 || c == ' ' || c == '\t' || c == '=' || c == '<' || c == '>'; }

/* The column's name, then what follows it; false: there is none. */
static bool take_name(const char **at, char name[MOTE_NAME_BYTES_MAX + 1])
{
    const char *from = skip_blanks(*at);
    bool quoted = *from == '"';
    from += quoted;
    const char *end = from;
    while (quoted ? *end && *end != '"' : !is_name_end(*end))
        end++;
    size_t length = (size_t)(end - from);
    if (length == 0 || length > MOTE_NAME_BYTES_MAX || (quoted && !*end))
        return false;
    memcpy(name, from, length);
    name[length] = 0;
    *at = skip_blanks(end + quoted);
    return true;
}

/* A word, as `in` or `is`, whole and in any case. */
static bool take_word(const char **at, const char *word)
{
    size_t length = strlen(word);
    char after = strncasecmp(*at, word, length) == 0 ? (*at)[length] : 'x';
    if (after != 0 && after != ' ' && after != '\t' && after != '(' && after != '\'')
        return false;
    *at = skip_blanks(*at + length);
    return true;
}

static bool take_sign(const char **at, const char *sign)
{
    size_t length = strlen(sign);
    if (strncmp(*at, sign, length) != 0)
        return false;
    *at = skip_blanks(*at + length);
    return true;
}

/* The text of a value up to `stop` (0: the end), without quotes, in memory of its own; NULL: a quote is open. */
static char *take_text(const char **at, const char *stop, size_t *length)
{
    const char *from = skip_blanks(*at);
    char *text = tool_alloc(strlen(from) + 1);
    *length = 0;
    if (*from == '\'') {
        for (from++; *from && (*from != '\'' || from[1] == '\''); from++) {
            from += *from == '\'';
            text[(*length)++] = *from;
        }
        text[*length] = 0;
        *at = skip_blanks(from + (*from == '\''));
        if (*from && (!**at || strchr(stop, **at)))
            return text;
        free(text);
        return NULL;
    }
    while (*from && !strchr(stop, *from))
        text[(*length)++] = *from++;
    while (*length > 0 && (text[*length - 1] == ' ' || text[*length - 1] == '\t'))
        (*length)--;
    text[*length] = 0;
    *at = from;
    return text;
}

static int take_value(const struct parse *parse, const struct mote_column_definition *column, const char **at,
                      const char *stop, struct mote_value *value)
{
    struct field_problem problem;
    size_t length;
    void *bytes;
    char *text = take_text(at, stop, &length);
    if (!text)
        return tool_refuse(parse->common, TOOL_USAGE, 0, "--where: a quoted value of column \"%s\" does not end", column->name);
    bool good = value_parse(column->type, column->dimension, text, length, value, &bytes, &problem);
    keep(parse->terms, bytes);
    int result = 0;
    if (!good)
        result = tool_refuse(parse->common, TOOL_USAGE, 0, "--where: column \"%s\": expected %s, found \"%.60s\"", column->name,
                             problem.expected, text);
    free(text);
    return result;
}

/* "(V, V, ...)" */
static int take_values(const struct parse *parse, const struct mote_column_definition *column, const char **at,
                       struct mote_term *term)
{
    struct mote_value *values = NULL;
    size_t count = 0, capacity = 0;
    int result = 0;
    if (*(*at)++ != '(')
        return tool_refuse(parse->common, TOOL_USAGE, 0, "--where: expected values in parentheses after \"in\"");
    for (bool more = *skip_blanks(*at) != ')'; more && !result;) {
        if (count == capacity) {
            capacity = 2 * capacity + 16;
            values = tool_realloc(values, capacity * sizeof *values);
        }
        result = take_value(parse, column, at, ",)", &values[count++]);
        more = **at == ',';
        *at += more;
    }
    *at = skip_blanks(*at);
    keep(parse->terms, values);
    if (!result && *(*at)++ != ')')
        return tool_refuse(parse->common, TOOL_USAGE, 0, "--where: the list of column \"%s\" does not end", column->name);
    term->values = values;
    term->value_count = count;
    return result;
}

/* The range of the column that lacks this bound. */
static struct mote_term *find_range(const struct parse *parse, uint32_t column, bool upper)
{
    for (size_t i = 0; i < parse->terms->count; i++) {
        struct mote_term *term = &parse->terms->terms[i];
        const struct mote_value *bound = upper ? &term->to : &term->from;
        if (term->kind == MOTE_TERM_RANGE && term->columns[0] == column && bound->is_null)
            return term;
    }
    return NULL;
}

static struct mote_term *add_column_term(const struct parse *parse, uint32_t kind, uint32_t column)
{
    size_t number = parse->terms->count;
    struct mote_term *term = add_term(parse, kind);
    if (!term)
        return NULL;
    parse->terms->columns[number][0] = column;
    term->columns = parse->terms->columns[number];
    term->column_count = 1;
    return term;
}

static int take_bound(const struct parse *parse, const struct mote_column_definition *column, uint32_t position,
                      const char **at, bool upper, bool excluded)
{
    struct mote_term *term = find_range(parse, position, upper);
    struct mote_value value;
    int result = take_value(parse, column, at, "", &value);
    if (result)
        return result;
    if (!term) {
        term = add_column_term(parse, MOTE_TERM_RANGE, position);
        if (!term)
            return TOOL_USAGE;
        term->from = term->to = (struct mote_value){.type = column->type, .is_null = 1};
    }
    *(upper ? &term->to : &term->from) = value;
    if (excluded)
        term->flags |= upper ? MOTE_TERM_TO_EXCLUDED : MOTE_TERM_FROM_EXCLUDED;
    return 0;
}

static int take_rest(const struct parse *parse, const struct mote_column_definition *column, uint32_t position, const char **at)
{
    static const struct {
        const char *sign;
        bool upper, excluded;
    } bounds[] = {{"<=", true, false}, {">=", false, false}, {"<", true, true}, {">", false, true}};
    struct mote_term *term;
    for (size_t i = 0; i < sizeof bounds / sizeof bounds[0]; i++)
        if (take_sign(at, bounds[i].sign))
            return take_bound(parse, column, position, at, bounds[i].upper, bounds[i].excluded);
    bool equal = take_sign(at, "="), prefix = !equal && take_word(at, "prefix");
    if (equal || prefix) {
        term = add_column_term(parse, equal ? MOTE_TERM_EQUAL : MOTE_TERM_PREFIX, position);
        return term ? take_value(parse, column, at, "", &term->from) : TOOL_USAGE;
    }
    if (take_word(at, "in")) {
        term = add_column_term(parse, MOTE_TERM_IN, position);
        return term ? take_values(parse, column, at, term) : TOOL_USAGE;
    }
    if (take_word(at, "is")) {
        bool not_null = take_word(at, "not");
        if (take_word(at, "null"))
            return add_column_term(parse, not_null ? MOTE_TERM_NOT_NULL : MOTE_TERM_NULL, position) ? 0 : TOOL_USAGE;
    }
    return tool_refuse(parse->common, TOOL_USAGE, 0,
                       "--where: expected =, <, <=, >, >=, in (...), prefix, is null or is not null after \"%s\", found \"%.60s\"",
                       column->name, *at);
}

static int find_column(const struct parse *parse, const char *option, const char *name, uint32_t *position,
                       struct mote_column_definition *column)
{
    int found = mote_table_find_column(parse->table, name);
    if (found < 0 || mote_table_column(parse->table, (uint32_t)found, column))
        return tool_refuse(parse->common, TOOL_REFUSED, 0, "--%s: the table has no column \"%s\"", option, name);
    *position = (uint32_t)found;
    return 0;
}

static int add_condition(const struct parse *parse, const char *text)
{
    char name[MOTE_NAME_BYTES_MAX + 1];
    struct mote_column_definition column;
    uint32_t position;
    const char *at = text;
    if (!take_name(&at, name))
        return tool_refuse(parse->common, TOOL_USAGE, 0, "--where: expected the name of a column, found \"%.60s\"", text);
    int result = find_column(parse, "where", name, &position, &column);
    if (!result)
        result = take_rest(parse, &column, position, &at);
    if (!result && *skip_blanks(at))
        result = tool_refuse(parse->common, TOOL_USAGE, 0, "--where: unexpected \"%.60s\"", at);
    return result;
}

/* ---- Places ---- */

/* count numbers separated by commas. */
static int parse_numbers(const struct parse *parse, const char *option, const char *text, size_t count, double *numbers)
{
    const char *at = text;
    for (size_t i = 0; i < count; i++) {
        char *end;
        numbers[i] = strtod(at, &end);
        if (end == at || *end != (i + 1 < count ? ',' : 0))
            return tool_refuse(parse->common, TOOL_USAGE, 0, "--%s: expected %zu numbers separated by commas, not \"%s\"",
                               option, count, text);
        at = end + 1;
    }
    return 0;
}

static int set_place(const struct parse *parse, const char *names, struct mote_term *term)
{
    struct column_choice choice;
    if (!names)
        return 0;
    int result = columns_choose(parse->common, parse->table, parse->info, names, &choice);
    uint32_t *columns = parse->terms->columns[term - parse->terms->terms];
    if (!result && choice.count > 4)
        result = tool_refuse(parse->common, TOOL_USAGE, 0, "--place: expected one point3 column or three float64 columns");
    for (size_t i = 0; i < choice.count && !result; i++)
        columns[i] = choice.positions[i];
    term->columns = columns;
    term->column_count = choice.count;
    columns_free(&choice);
    return result;
}

static int add_box(const struct parse *parse, const struct search_words *given)
{
    double box[6];
    struct mote_term *term = add_term(parse, MOTE_TERM_BOX);
    int result = term ? parse_numbers(parse, "box", given->box, 6, box) : TOOL_USAGE;
    for (size_t i = 0; i < 3 && !result; i++) {
        term->min[i] = box[i];
        term->max[i] = box[i + 3];
    }
    return result ? result : set_place(parse, given->place, term);
}

static int add_ball(const struct parse *parse, const struct search_words *given)
{
    struct mote_term *term = add_term(parse, given->nearest ? MOTE_TERM_NEAREST : MOTE_TERM_RADIUS);
    int result = term ? parse_numbers(parse, "centre", given->centre, 3, term->centre) : TOOL_USAGE;
    if (!result && given->radius)
        result = parse_numbers(parse, "radius", given->radius, 1, &term->radius);
    return result ? result : set_place(parse, given->place, term);
}

/* ---- Vectors ---- */

static char *read_text(const struct parse *parse, const char *path)
{
    FILE *file = fopen(path, "r");
    char *text = tool_alloc(VECTOR_TEXT_MAX + 1);
    size_t length = file ? fread(text, 1, VECTOR_TEXT_MAX + 1, file) : 0;
    bool good = file && !ferror(file) && length <= VECTOR_TEXT_MAX;
    if (file)
        fclose(file);
    if (!good) {
        tool_refuse(parse->common, TOOL_REFUSED, 0, "--near-vector: cannot read a vector from %s", path);
        free(text);
        return NULL;
    }
    while (length > 0 && (text[length - 1] == '\n' || text[length - 1] == '\r'))
        length--;
    text[length] = 0;
    return text;
}

static int add_vector(const struct parse *parse, const struct search_words *given)
{
    char *read = given->near_vector[0] == '@' ? read_text(parse, given->near_vector + 1) : NULL;
    const char *text = read ? read : given->near_vector;
    struct mote_term *term = add_term(parse, MOTE_TERM_VECTOR);
    struct field_problem problem;
    struct mote_value value;
    void *bytes;
    if (read)
        keep(parse->terms, read);
    if (!term || (given->near_vector[0] == '@' && !read))
        return term ? TOOL_REFUSED : TOOL_USAGE;
    term->dimension = 1;
    for (const char *at = text; *at; at++)
        term->dimension += *at == ',';
    bool good = term->dimension <= MOTE_VECTOR_DIMENSION_MAX;
    if (good) {
        good = value_parse(MOTE_TYPE_VECTOR_F32, term->dimension, text, strlen(text), &value, &bytes, &problem);
        keep(parse->terms, bytes);
    }
    if (!good)
        return tool_refuse(parse->common, TOOL_USAGE, 0, "--near-vector: expected [1,2,...], found \"%.60s\"", text);
    term->vector = value.as.bytes.data;
    term->list = (uint32_t)(given->list < UINT32_MAX ? given->list : UINT32_MAX);
    term->flags = given->exact ? MOTE_TERM_EXACT : 0;
    return 0;
}

/* ---- All ---- */

static int set_order(const struct parse *parse, const struct search_words *given)
{
    struct search_terms *terms = parse->terms;
    struct mote_column_definition column;
    struct mote_term *term = NULL;
    uint32_t position;
    if (!given->order_by)
        return given->descending ? tool_refuse(parse->common, TOOL_USAGE, 0, "--descending needs --order-by") : 0;
    int result = find_column(parse, "order-by", given->order_by, &position, &column);
    if (result)
        return result;
    for (size_t i = 0; i < terms->count && !term; i++)
        if (terms->terms[i].kind <= MOTE_TERM_NOT_NULL && terms->terms[i].columns[0] == position)
            term = &terms->terms[i];
    if (!term)
        term = add_column_term(parse, MOTE_TERM_NOT_NULL, position);
    if (!term)
        return TOOL_USAGE;
    term->flags |= given->descending ? MOTE_TERM_DESCENDING : 0;
    terms->options.rank_by = (uint32_t)(term - terms->terms) + 1;
    return 0;
}

/* An index serves those terms that are of its kind; of columns' terms, those on its column. */
static int set_index(const struct parse *parse, const char *name)
{
    struct mote_index_info info = {.size_bytes = sizeof info};
    bool used = false;
    if (mote_index_describe(parse->table, name, &info))
        return tool_fail(parse->common, NULL);
    for (size_t i = 0; i < parse->terms->count; i++) {
        struct mote_term *term = &parse->terms->terms[i];
        uint32_t kind = term->kind <= MOTE_TERM_NOT_NULL    ? MOTE_INDEX_COLUMN
                        : term->kind <= MOTE_TERM_NEAREST ? MOTE_INDEX_SPATIAL
                        : term->kind == MOTE_TERM_VECTOR  ? MOTE_INDEX_VECTOR
                                                          : MOTE_INDEX_TEXT;
        if (kind != info.kind || (kind == MOTE_INDEX_COLUMN && term->columns[0] != info.columns[0]))
            continue;
        term->index = name;
        used = true;
    }
    return used ? 0 : tool_refuse(parse->common, TOOL_USAGE, 0, "--index %s: nothing that is searched for is of its kind", name);
}

/* What orders the hits, as the library chooses it, and is worth a column of its own. */
static void name_score(struct search_terms *terms)
{
    size_t distances = 0, words = 0;
    bool always = false;
    for (size_t i = 0; i < terms->count; i++) {
        uint32_t kind = terms->terms[i].kind;
        always = always || kind == MOTE_TERM_NEAREST || kind == MOTE_TERM_VECTOR;
        distances += kind == MOTE_TERM_RADIUS;
        words += kind == MOTE_TERM_WORDS;
    }
    if (terms->options.rank_by == 0 && (always || distances + words == 1))
        terms->score_name = always || distances ? "distance" : "score";
}

static int check_words(const struct tool_common *common, const struct search_words *given)
{
    bool about = given->radius || given->nearest;
    if (!given->centre != !about)
        return tool_refuse(common, TOOL_USAGE, 0, "give --centre with --radius, with --nearest, or with both");
    if (given->k && !given->near_vector)
        return tool_refuse(common, TOOL_USAGE, 0, "--k needs --near-vector");
    if (given->nearest && given->near_vector)
        return tool_refuse(common, TOOL_USAGE, 0, "--nearest and --near-vector both order the rows: give --centre with --radius alone");
    if (given->any_word && !given->words)
        return tool_refuse(common, TOOL_USAGE, 0, "--any-word needs --words");
    return 0;
}

int search_terms_parse(const struct tool_common *common, mote_table *table, const struct mote_table_info *info,
                       const struct search_words *given, struct search_terms *terms)
{
    struct parse parse = {common, table, info, terms};
    struct mote_term *term = NULL;
    terms->options = (struct mote_search_options)MOTE_SEARCH_OPTIONS_INIT;
    int result = check_words(common, given);
    for (size_t i = 0; i < given->where.count && !result; i++)
        result = add_condition(&parse, given->where.values[i]);
    if (!result && given->box)
        result = add_box(&parse, given);
    if (!result && given->centre)
        result = add_ball(&parse, given);
    if (!result && given->near_vector)
        result = add_vector(&parse, given);
    if (!result && given->words) {
        term = add_term(&parse, MOTE_TERM_WORDS);
        result = term ? 0 : TOOL_USAGE;
    }
    if (term) {
        term->words = given->words;
        term->flags = given->any_word ? MOTE_TERM_ANY_WORD : 0;
    }
    if (!result)
        result = set_order(&parse, given);
    for (size_t i = 0; i < given->index.count && !result; i++)
        result = set_index(&parse, given->index.values[i]);
    if (result)
        return result;
    name_score(terms);
    terms->options.terms = terms->terms;
    terms->options.term_count = terms->count;
    terms->options.limit = given->nearest ? given->nearest : given->k ? given->k : given->limit;
    return 0;
}

/* text_analyse.c: bytes to terms. The rules, version TEXT_ANALYSIS_VERSION; an index is read with the rules it was built with:
 *
 *   1. The bytes are UTF-8. A byte that begins no valid sequence separates words, as a space does.
 *   2. Letters, digits and private characters (categories L, N, Co) make words, as in SQLite FTS5's unicode61; combining marks (M) go on with a word and begin none; default-ignorable characters (soft hyphen, joiners) vanish;
 *      everything else separates. What a letter decomposes to is held to the same rule.
 *   3. Each character is decomposed and case-folded (NFKC with case folding). Unless keep_diacritics, the combining diacritical marks (U+0300-036F, 1AB0-1AFF, 1DC0-1DFF, 20D0-20FF) are dropped: é is e, also where the letter
 *      has several marks. Marks of other blocks (Indic vowels, Japanese voicing) stay. What remains is composed again (NFC).
 *   4. A run of Han, Hiragana or Katakana characters c1...cn gives n terms: the pairs c1c2, c2c3, ..., and at the last position the single character cn. So every character begins exactly one term, and a query for one
 *      character is the prefix search for it. Any other run is one word.
 *   5. A word is stemmed, if there is a stemmer, after diacritics were dropped, so that a word finds itself with and without them.
 *   6. A word's first RUN_MAX decomposed characters count; its term is cut at TEXT_TERM_BYTES_MAX bytes, at a character.
 *
 * Threads: an analyser belongs to one thread. Failures: what take returns. Memory: fixed.
 */
#include <assert.h>
#include <libstemmer.h>
#include <utf8proc.h>

#include "blockdev/base/errors.h"
#include "blockdev/base/memory.h"
#include "index/text_private.h"

enum { RUN_MAX = 128, DECOMPOSED_MAX = 32 };
enum run_kind { RUN_WORD, RUN_CHARACTERS };

/* Numbers on the device: a new language goes to the end. */
static const char *const languages[] = {
    "",        "danish", "dutch",      "english", "finnish",   "french",  "german",     "hungarian", "italian",  "norwegian", "porter", "portuguese", "romanian", "russian",   "spanish",
    "swedish", "turkish", "arabic",    "armenian", "basque",   "catalan", "greek",      "hindi",     "indonesian", "irish",   "lithuanian", "nepali", "serbian",  "tamil",     "yiddish",
};
enum { LANGUAGES = sizeof languages / sizeof languages[0] };

struct text_analyser {
    struct memory *memory;
    struct text_options options;
    struct sb_stemmer *stemmer;
    /* of the present call */
    text_token_function take;
    void *context;
    uint32_t position;
    enum run_kind kind;
    uint32_t count; /* decomposed characters of the run so far */
    bool continued; /* characters of the run were handed over already */
    utf8proc_int32_t run[RUN_MAX + DECOMPOSED_MAX];
    uint8_t word[TEXT_TERM_BYTES_MAX];
};

static int refuse_stemmer(uint32_t language) { return error_set(MOTE_ENOTSUP, "the installed libstemmer has no stemmer for %s; install a newer one", languages[language]); }

const char *text_language_name(uint32_t language) { return language < LANGUAGES ? languages[language] : NULL; }

int text_language_find(const char *name, uint32_t *language)
{
    *language = 0;
    if (!name)
        return MOTE_OK;
    for (uint32_t i = 0; i < LANGUAGES; i++)
        if (strcmp(name, languages[i]) == 0) {
            struct sb_stemmer *stemmer = i ? sb_stemmer_new(name, "UTF_8") : NULL;
            if (i && !stemmer)
                return refuse_stemmer(i);
            if (stemmer)
                sb_stemmer_delete(stemmer);
            *language = i;
            return MOTE_OK;
        }
    return error_set(MOTE_EINVAL, "there is no stemmer for the language \"%s\"; english, german, french and 26 others are known by their English names", name);
}

int text_analyser_create(struct memory *memory, const struct text_options *options, struct text_analyser **analyser)
{
    *analyser = NULL;
    if (options->language >= LANGUAGES)
        return error_set(MOTE_EINVAL, "there is no stemmer of number %u; find it by its name", options->language);
    struct text_analyser *made = memory_alloc_zero(memory, sizeof *made);
    if (!made)
        return MOTE_EBUDGET;
    made->memory = memory;
    made->options = *options;
    if (options->language > 0) {
        made->stemmer = sb_stemmer_new(languages[options->language], "UTF_8");
        if (!made->stemmer) {
            memory_free(memory, made);
            return refuse_stemmer(options->language);
        }
    }
    *analyser = made;
    return MOTE_OK;
}

void text_analyser_destroy(struct text_analyser *analyser)
{
    if (!analyser)
        return;
    if (analyser->stemmer)
        sb_stemmer_delete(analyser->stemmer);
    memory_free(analyser->memory, analyser);
}

const struct text_options *text_analyser_options(const struct text_analyser *analyser) { return &analyser->options; }

/* The longest start of bytes that is not longer than a term may be and ends with a character. */
static uint32_t cut_term(const uint8_t *bytes, uint32_t byte_count)
{
    if (byte_count <= TEXT_TERM_BYTES_MAX)
        return byte_count;
    uint32_t cut = TEXT_TERM_BYTES_MAX;
    while (cut > 0 && (bytes[cut] & 0xC0) == 0x80)
        cut--;
    return cut;
}

static int emit(struct text_analyser *analyser, enum text_token_kind kind, const uint8_t *word, uint32_t word_bytes)
{
    struct text_token token = {.term = word, .term_bytes = word_bytes, .word = word, .word_bytes = word_bytes, .position = analyser->position, .kind = kind};
    assert(word_bytes > 0 && word_bytes <= TEXT_TERM_BYTES_MAX);
    if (kind == TEXT_TOKEN_WORD && analyser->stemmer) {
        const sb_symbol *stem = sb_stemmer_stem(analyser->stemmer, word, (int)word_bytes);
        int stem_bytes = stem ? sb_stemmer_length(analyser->stemmer) : 0;
        if (stem_bytes > 0) {
            token.term = stem;
            token.term_bytes = cut_term(stem, (uint32_t)stem_bytes);
        }
    }
    analyser->position++;
    return analyser->take(analyser->context, &token);
}

static int emit_characters(struct text_analyser *analyser, enum text_token_kind kind, const utf8proc_int32_t *characters, uint32_t count)
{
    uint32_t bytes = 0;
    for (uint32_t i = 0; i < count; i++)
        bytes += (uint32_t)utf8proc_encode_char(characters[i], analyser->word + bytes);
    return emit(analyser, kind, analyser->word, bytes);
}

/* Canonical order of the marks, then composition. */
static void compose_run(struct text_analyser *analyser)
{
    utf8proc_int32_t *run = analyser->run;
    for (uint32_t i = 1; i < analyser->count; i++) {
        utf8proc_propval_t order = utf8proc_get_property(run[i])->combining_class;
        for (uint32_t j = i; order > 0 && j > 0 && utf8proc_get_property(run[j - 1])->combining_class > order; j--) {
            utf8proc_int32_t swapped = run[j];
            run[j] = run[j - 1];
            run[j - 1] = swapped;
        }
    }
    utf8proc_ssize_t composed = utf8proc_normalize_utf32(run, (utf8proc_ssize_t)analyser->count, UTF8PROC_STABLE | UTF8PROC_COMPOSE);
    if (composed > 0 && composed < (utf8proc_ssize_t)analyser->count)
        analyser->count = (uint32_t)composed;
}

static int emit_word(struct text_analyser *analyser)
{
    uint32_t bytes = 0;
    for (uint32_t i = 0; i < analyser->count; i++) {
        utf8proc_uint8_t encoded[4];
        uint32_t width = (uint32_t)utf8proc_encode_char(analyser->run[i], encoded);
        if (bytes + width > TEXT_TERM_BYTES_MAX)
            break;
        memcpy(analyser->word + bytes, encoded, width);
        bytes += width;
    }
    analyser->count = 0;
    return bytes ? emit(analyser, TEXT_TOKEN_WORD, analyser->word, bytes) : MOTE_OK;
}

/* Hands the run over. whole false: its last character stays, for more come. */
static int flush_run(struct text_analyser *analyser, bool whole)
{
    if (analyser->count == 0)
        return MOTE_OK;
    compose_run(analyser);
    if (analyser->kind == RUN_WORD)
        return emit_word(analyser);
    uint32_t count = analyser->count;
    for (uint32_t i = 0; i + 1 < count; i++) {
        int result = emit_characters(analyser, TEXT_TOKEN_PAIR, analyser->run + i, 2);
        if (result)
            return result;
    }
    analyser->run[0] = analyser->run[count - 1];
    bool single = count == 1 && !analyser->continued;
    analyser->count = whole ? 0 : 1;
    analyser->continued = !whole && !single;
    return whole ? emit_characters(analyser, single ? TEXT_TOKEN_SINGLE : TEXT_TOKEN_LAST, analyser->run, 1) : MOTE_OK;
}

static bool is_mark(utf8proc_category_t category) { return category == UTF8PROC_CATEGORY_MN || category == UTF8PROC_CATEGORY_MC || category == UTF8PROC_CATEGORY_ME; }

static bool is_word(utf8proc_category_t category)
{
    return (category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_LO) || (category >= UTF8PROC_CATEGORY_ND && category <= UTF8PROC_CATEGORY_NO) || category == UTF8PROC_CATEGORY_CO;
}

static bool is_diacritic(utf8proc_int32_t c)
{
    return (c >= 0x300 && c <= 0x36F) || (c >= 0x1AB0 && c <= 0x1AFF) || (c >= 0x1DC0 && c <= 0x1DFF) || (c >= 0x20D0 && c <= 0x20FF);
}

/* Han (with radicals and the iteration marks), Hiragana, Katakana. */
static bool is_character(utf8proc_int32_t c)
{
    return c >= 0x2E80 && ((c <= 0x2FDF) || (c >= 0x3005 && c <= 0x3007) || (c >= 0x3021 && c <= 0x3029) || (c >= 0x3038 && c <= 0x303B) || (c >= 0x3041 && c <= 0x30FF) || (c >= 0x31F0 && c <= 0x31FF) ||
                          (c >= 0x3400 && c <= 0x4DBF) || (c >= 0x4E00 && c <= 0x9FFF) || (c >= 0xF900 && c <= 0xFAFF) || (c >= 0x1AFF0 && c <= 0x1B16F) || (c >= 0x20000 && c <= 0x3FFFD));
}

/* One decomposed character. */
static int add_decomposed(struct text_analyser *analyser, utf8proc_int32_t c)
{
    utf8proc_category_t category = utf8proc_category(c);
    bool mark = is_mark(category);
    if (mark && (analyser->count == 0 || (is_diacritic(c) && !analyser->options.keep_diacritics)))
        return MOTE_OK;
    if (!mark && !is_word(category))
        return flush_run(analyser, true);
    enum run_kind kind = mark ? analyser->kind : is_character(c) ? RUN_CHARACTERS : RUN_WORD;
    int result = MOTE_OK;
    if (kind != analyser->kind || analyser->count == 0) {
        result = flush_run(analyser, true);
        analyser->kind = kind;
        analyser->continued = false;
    } else if (analyser->count >= RUN_MAX) {
        if (kind == RUN_WORD || mark)
            return MOTE_OK;
        result = flush_run(analyser, false);
    }
    if (!result)
        analyser->run[analyser->count++] = c;
    return result;
}

static int add_character(struct text_analyser *analyser, utf8proc_int32_t c)
{
    const utf8proc_property_t *property = utf8proc_get_property(c);
    utf8proc_category_t category = (utf8proc_category_t)property->category;
    if (property->ignorable)
        return MOTE_OK;
    if (!is_mark(category) && !is_word(category))
        return flush_run(analyser, true);
    utf8proc_int32_t decomposed[DECOMPOSED_MAX];
    int boundary = 0, result = MOTE_OK;
    utf8proc_ssize_t count = utf8proc_decompose_char(c, decomposed, DECOMPOSED_MAX, UTF8PROC_STABLE | UTF8PROC_COMPAT | UTF8PROC_CASEFOLD | UTF8PROC_IGNORE | UTF8PROC_DECOMPOSE, &boundary);
    if (count < 0 || count > DECOMPOSED_MAX)
        return flush_run(analyser, true);
    for (utf8proc_ssize_t i = 0; i < count && !result; i++)
        result = add_decomposed(analyser, decomposed[i]);
    return result;
}

/* Lower-case letter or digit of ASCII, or 0. */
static uint8_t fold_ascii(uint8_t c)
{
    uint8_t lower = c | 0x20;
    return (uint8_t)(lower - 'a') < 26 ? lower : (uint8_t)(c - '0') < 10 ? c : 0;
}

/* A word of ASCII letters, behind which something other than ASCII does not follow: the common case, without tables. 0: it is none. */
static size_t take_ascii(struct text_analyser *analyser, const uint8_t *text, size_t text_bytes, int *result)
{
    size_t length = 0;
    for (uint8_t folded; length < text_bytes && (folded = fold_ascii(text[length])) != 0; length++)
        if (length < TEXT_TERM_BYTES_MAX)
            analyser->word[length] = folded;
    if (length < text_bytes && text[length] >= 0x80)
        return 0;
    if (length > 0)
        *result = emit(analyser, TEXT_TOKEN_WORD, analyser->word, length < TEXT_TERM_BYTES_MAX ? (uint32_t)length : TEXT_TERM_BYTES_MAX);
    return length;
}

int text_analyse(struct text_analyser *analyser, const void *text, size_t text_bytes, text_token_function take, void *context, uint32_t *token_count)
{
    const uint8_t *at = text, *end = at + text_bytes;
    int result = MOTE_OK;
    analyser->take = take;
    analyser->context = context;
    analyser->position = 0;
    analyser->count = 0;
    analyser->continued = false;
    if (text_bytes >= UINT32_MAX)
        return error_set(MOTE_ETOOBIG, "a text of %zu bytes is longer than the text index takes; split it into rows", text_bytes);
    while (at < end && !result) {
        size_t taken = analyser->count == 0 ? take_ascii(analyser, at, (size_t)(end - at), &result) : 0;
        at += taken;
        if (taken > 0 || at == end)
            continue;
        if (*at < 0x80 && !fold_ascii(*at)) {
            result = flush_run(analyser, true);
            at++;
            continue;
        }
        utf8proc_int32_t c = -1;
        utf8proc_ssize_t width = utf8proc_iterate(at, end - at, &c);
        bool valid = width > 0 && c >= 0;
        result = valid ? add_character(analyser, c) : flush_run(analyser, true);
        at += valid ? width : 1;
    }
    if (!result)
        result = flush_run(analyser, true);
    analyser->count = 0;
    if (token_count)
        *token_count = analyser->position;
    return result;
}

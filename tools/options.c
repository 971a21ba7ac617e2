/* options.c: parser and help text of a subcommand's option table (options.h). */
#include "tools/options.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { EXIT_USAGE = 2, HELP_COLUMN = 26 };

static bool parse_count(const char *text, uint64_t max, uint64_t *value)
{
    if (!isdigit((unsigned char)text[0]))
        return false;
    char *end = NULL;
    errno = 0;
    unsigned long long number = strtoull(text, &end, 10);
    if (errno || *end || number > max)
        return false;
    *value = number;
    return true;
}

bool options_parse_bytes(const char *text, uint64_t *bytes)
{
    if (!isdigit((unsigned char)text[0]))
        return false;
    char *end = NULL;
    errno = 0;
    unsigned long long number = strtoull(text, &end, 10);
    if (errno)
        return false;
    unsigned shift = 0;
    if (*end) {
        const char *suffix = strchr("KMGT", toupper((unsigned char)*end));
        if (!suffix)
            return false;
        static const char letters[] = "KMGT";
        shift = 10 * (unsigned)(strchr(letters, *suffix) - letters + 1);
        end++;
        /* "MiB" and "MB" are common in people's fingers; both mean the power of two here, as the manual says. */
        if (*end && strcmp(end, "iB") != 0 && strcmp(end, "B") != 0)
            return false;
    }
    if (shift && number > (UINT64_MAX >> shift))
        return false;
    *bytes = (uint64_t)number << shift;
    return true;
}

static bool parse_choice(const struct option *option, const char *text)
{
    for (uint32_t i = 0; option->choices[i]; i++) {
        if (strcmp(option->choices[i], text) == 0) {
            *(uint32_t *)option->target = i;
            return true;
        }
    }
    return false;
}

static bool parse_real(const char *text, double *value)
{
    char *end = NULL;
    *value = strtod(text, &end);
    return end != text && *end == '\0' && isfinite(*value) && *value > 0;
}

static bool add_to_list(struct option_list *list, const char *text)
{
    if (list->count == OPTION_LIST_MAX)
        return false;
    list->values[list->count++] = text;
    return true;
}

/* Stores the value; false if it does not fit the option's kind. */
static bool store_value(const struct option *option, const char *text)
{
    uint64_t number;
    switch (option->kind) {
    case OPTION_FLAG:
        *(bool *)option->target = true;
        return true;
    case OPTION_FLAG32:
        *(uint32_t *)option->target = 1;
        return true;
    case OPTION_TEXT:
        *(const char **)option->target = text;
        return true;
    case OPTION_LIST:
        return add_to_list(option->target, text);
    case OPTION_BYTES:
        return options_parse_bytes(text, option->target);
    case OPTION_COUNT:
        return parse_count(text, UINT64_MAX, option->target);
    case OPTION_COUNT32:
        if (!parse_count(text, UINT32_MAX - 1, &number))
            return false;
        *(uint32_t *)option->target = (uint32_t)number;
        return true;
    case OPTION_REAL:
        return parse_real(text, option->target);
    case OPTION_CHOICE:
        return parse_choice(option, text);
    }
    return false;
}

static const char *describe_kind(enum option_kind kind)
{
    switch (kind) {
    case OPTION_BYTES:
        return "a size in bytes, with K, M, G or T if you like";
    case OPTION_COUNT:
    case OPTION_COUNT32:
        return "a whole number";
    case OPTION_REAL:
        return "a number above 0";
    case OPTION_LIST:
        return "this option 16 times at most";
    default:
        return "one of";
    }
}

static void print_choices(FILE *out, const struct option *option)
{
    for (size_t i = 0; option->choices[i]; i++)
        fprintf(out, "%s%s", i ? ", " : "", option->choices[i]);
}

static const struct option *find_option(const struct option *table, const char *name, size_t name_length)
{
    for (; table && table->name; table++) {
        if (strlen(table->name) == name_length && memcmp(table->name, name, name_length) == 0)
            return table;
    }
    return NULL;
}

static void print_table(const struct option *table)
{
    for (; table && table->name; table++) {
        int width =
            printf("  --%s%s%s", table->name, table->argument ? " " : "", table->argument ? table->argument : "");
        if (width > HELP_COLUMN - 2) {
            printf("\n%*s", HELP_COLUMN, "");
        } else {
            printf("%*s", HELP_COLUMN - width, "");
        }
        printf("%s", table->help);
        if (table->choices) {
            printf(": ");
            print_choices(stdout, table);
        }
        printf("\n");
    }
}

static void print_help(const struct option_command *command)
{
    printf("Usage: %s [OPTION]... %s\n\n%s\n", command->name, command->operands, command->summary);
    if (command->details)
        printf("\n%s\n", command->details);
    if (command->options && command->options->name) {
        printf("\nOptions\n");
        print_table(command->options);
    }
    if (command->common) {
        printf("\nOptions of all commands\n");
        print_table(command->common);
    }
    printf(
        "  --help                  this text\n\n"
        "Exit codes: 0 good; 1 the data is damaged or the input was refused; 2 usage; 3 the device cannot be used.\n");
}

/* Handles the word at argv[*at], an option; *at moves to its last word. Returns OPTIONS_RUN or an exit code. */
static int take_option(const struct option_command *command, int argc, char **argv, int *at)
{
    const char *word = argv[*at];
    if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0) {
        print_help(command);
        return 0;
    }
    const char *name = word + 2;
    const char *equals = strchr(name, '=');
    size_t name_length = equals ? (size_t)(equals - name) : strlen(name);
    const struct option *option = NULL;
    if (word[1] == '-')
        option = find_option(command->options, name, name_length);
    if (!option && word[1] == '-')
        option = find_option(command->common, name, name_length);
    if (!option) {
        fprintf(stderr, "%s: there is no option %s; see %s --help\n", command->name, word, command->name);
        return EXIT_USAGE;
    }
    const char *value = equals ? equals + 1 : NULL;
    bool flag = option->kind == OPTION_FLAG || option->kind == OPTION_FLAG32;
    if (flag && value) {
        fprintf(stderr, "%s: --%s takes no value\n", command->name, option->name);
        return EXIT_USAGE;
    }
    if (!flag && !value) {
        if (*at + 1 >= argc) {
            fprintf(stderr, "%s: --%s needs a value (%s)\n", command->name, option->name, option->argument);
            return EXIT_USAGE;
        }
        value = argv[++*at];
    }
    if (!store_value(option, value)) {
        fprintf(stderr, "%s: --%s %s: expected %s", command->name, option->name, value, describe_kind(option->kind));
        if (option->choices) {
            fprintf(stderr, " ");
            print_choices(stderr, option);
        }
        fprintf(stderr, "\n");
        return EXIT_USAGE;
    }
    return OPTIONS_RUN;
}

static bool is_option(const char *word)
{
    return word[0] == '-' && word[1] && !isdigit((unsigned char)word[1]) && word[1] != '.';
}

int options_parse(const struct option_command *command, int argc, char **argv, const char **operands,
                  unsigned *operand_count)
{
    *operand_count = 0;
    bool ended = false;
    for (int at = 1; at < argc; at++) {
        if (!ended && strcmp(argv[at], "--") == 0) {
            ended = true;
            continue;
        }
        if (!ended && is_option(argv[at])) {
            int result = take_option(command, argc, argv, &at);
            if (result != OPTIONS_RUN)
                return result;
            continue;
        }
        if (*operand_count >= command->operand_max) {
            fprintf(stderr, "%s: unexpected \"%s\"; usage: %s %s\n", command->name, argv[at], command->name,
                    command->operands);
            return EXIT_USAGE;
        }
        operands[(*operand_count)++] = argv[at];
    }
    if (*operand_count < command->operand_min) {
        fprintf(stderr, "%s: too few arguments; usage: %s [OPTION]... %s\n", command->name, command->name,
                command->operands);
        return EXIT_USAGE;
    }
    return OPTIONS_RUN;
}

/* dbisl-split: cases -> a manifest of labelled, unlabelled, validation and test cases. */
#include <stdio.h>

#include "cohort/split.h"
#include "tool.h"

typedef struct arguments {
    dbi_split_settings settings;
    tool_files cases;
} arguments;

enum {
    KEY_LABELED = 1,
    KEY_UNLABELED,
    KEY_VAL,
    KEY_TEST,
    KEY_LABELED_LIST,
    KEY_UNLABELED_LIST,
    KEY_VAL_LIST,
    KEY_TEST_LIST,
    KEY_ORDER,
    KEY_FOLD
};

static const struct argp_option options[] = {
    {"labeled", KEY_LABELED, "N", 0, "N labelled cases, from the front (default: all that have a label and are left)",
     0},
    {"max-unlabeled", KEY_UNLABELED, "N", 0, "At most N unlabelled cases (default: all that are left)", 0},
    {"val", KEY_VAL, "N", 0, "N validation cases, before the test cases (default 0)", 0},
    {"test", KEY_TEST, "N", 0, "N test cases, from the end (default 0)", 0},
    {"fold", KEY_FOLD, "I/N", 0, "Take part I of N equal parts for validation", 0},
    {"order", KEY_ORDER, "HOW", 0, "Draw in the order given (the default) or random", 0},
    {"labeled-list", KEY_LABELED_LIST, "FILE", 0, "The labelled cases' ids, one a line", 1},
    {"unlabeled-list", KEY_UNLABELED_LIST, "FILE", 0, "The unlabelled cases' ids", 1},
    {"val-list", KEY_VAL_LIST, "FILE", 0, "The validation cases' ids", 1},
    {"test-list", KEY_TEST_LIST, "FILE", 0, "The test cases' ids", 1},
    {0},
};

static void parse_fold(struct argp_state *state, const char *text, dbi_split_settings *s)
{
    int end = 0;
    if (sscanf(text, "%d/%d%n", &s->fold, &s->folds, &end) != 2 || text[end] || s->folds < 2 || s->fold < 1 ||
        s->fold > s->folds)
        argp_error(state, "--fold: \"%s\" is not I/N with 1 <= I <= N and N >= 2", text);
}

static void check_usage(struct argp_state *state, const arguments *a)
{
    static const char *const number[DBI_PARTS] = {"labeled", "max-unlabeled", "val", "test"}, *const list[DBI_PARTS] = {
                                                                                                  "labeled",
                                                                                                  "unlabeled", "val",
                                                                                                  "test"};
    const dbi_split_settings *s = &a->settings;
    if (!a->cases.count)
        argp_error(state, "give the cases");
    for (int part = 0; part < DBI_PARTS; part++)
        if (s->list[part] && s->count[part] >= 0)
            argp_error(state, "choose --%s or --%s-list", number[part], list[part]);
    if (s->folds && (s->list[DBI_PART_VALIDATION] || s->count[DBI_PART_VALIDATION] >= 0))
        argp_error(state, "leave out --val and --val-list: --fold chooses the validation cases");
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    arguments *a = state->input;
    dbi_split_settings *s = &a->settings;
    switch (key) {
    case KEY_LABELED:
        s->count[DBI_PART_LABELED] = tool_int(state, "labeled", arg, 0, 1000000);
        return 0;
    case KEY_UNLABELED:
        s->count[DBI_PART_UNLABELED] = tool_int(state, "max-unlabeled", arg, 0, 1000000);
        return 0;
    case KEY_VAL:
        s->count[DBI_PART_VALIDATION] = tool_int(state, "val", arg, 0, 1000000);
        return 0;
    case KEY_TEST:
        s->count[DBI_PART_TEST] = tool_int(state, "test", arg, 0, 1000000);
        return 0;
    case KEY_LABELED_LIST:
    case KEY_UNLABELED_LIST:
    case KEY_VAL_LIST:
    case KEY_TEST_LIST:
        s->list[key - KEY_LABELED_LIST] = arg;
        return 0;
    case KEY_FOLD:
        parse_fold(state, arg, s);
        return 0;
    case KEY_ORDER:
        s->shuffle = tool_either(state, "order", arg, "given", "random");
        return 0;
    case ARGP_KEY_ARGS:
        a->cases = tool_arguments(state);
        return 0;
    case ARGP_KEY_END:
        check_usage(state, a);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

int main(int argc, char **argv)
{
    arguments a = {.settings = dbi_split_defaults()};
    tool_options o;
    dbi_error error;
    tool_parse(argc, argv, "dbisl-split", TOOL_OUTPUT | TOOL_SEED, options, parse, "CASE...",
               "Assigns cases to the labelled, unlabelled, validation and test part of an experiment and writes a "
               "table of them.",
               &a, &o);
    a.settings.seed = o.seed;
    tool_reads_all(a.cases);
    for (int part = 0; part < DBI_PARTS; part++)
        if (a.settings.list[part])
            tool_reads(a.settings.list[part]);
    tool_writes(o.output, TOOL_TEXT, NULL);
    dbi_manifest manifest;
    if (dbi_split((const char *const *)a.cases.names, (size_t)a.cases.count, &a.settings, &manifest, &error) ||
        dbi_manifest_write(&manifest, o.output, &error))
        tool_die(&error);
    dbi_manifest_free(&manifest);
    return TOOL_DONE;
}

#include "cohort/split.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/random.h"
#include "record/lines.h"
#include "record/metadata.h"
#include "record/stream.h"

enum { FREE = -1, LEFT_OUT = -2 }; /* values of `part` beside the parts: not assigned yet; in no part */

typedef struct split_case {
    const char *path;
    char *id, *preprocessing;
    int64_t channels, classes; /* classes: only when there is a label */
    bool has_label;
    int part;
} split_case;

typedef struct cohort {
    split_case *cases;
    size_t count;
    split_case **order, **by_id;
} cohort;

dbi_split_settings dbi_split_defaults(void)
{
    return (dbi_split_settings){.count = {-1, -1, -1, -1}};
}

/* Reads a case's header. */
static int read_case(const char *path, split_case *c, dbi_error *error)
{
    if (!strcmp(path, "-"))
        return dbi_fail(error, "a case from standard input could not be read again by its path");
    dbi_record *record = dbi_record_peek(path, error);
    if (!record)
        return -1;
    const char *kind = dbi_meta_get(record, "kind"), *id = NULL, *preprocessing = NULL;
    const dbi_tensor *image = NULL;
    *c = (split_case){.path = path, .part = FREE, .has_label = dbi_record_find(record, "label")};
    int result = 0;
    if (!kind || strcmp(kind, "case"))
        result = dbi_fail(error, "not a case, but %s", kind ? kind : "a record of no kind");
    else if (!(id = dbi_meta_need(record, "id", error)) ||
             !(preprocessing = dbi_meta_need(record, "preprocessing", error)) ||
             !(image = dbi_record_need(record, "image", DBI_F32, 4, NULL, error)))
        result = -1;
    else if (c->has_label && (!dbi_record_need(record, "label", DBI_U8, 3, image->shape + 1, error) ||
                              dbi_meta_get_int(record, "classes", &c->classes, error)))
        result = -1;
    else if (!*id)
        result = dbi_fail(error, "the id is empty");
    if (result)
        dbi_fail_in(error, "%s: record 0", path);
    else {
        c->channels = image->shape[0];
        if (!(c->id = strdup(id)) || !(c->preprocessing = strdup(preprocessing)))
            result = dbi_fail(error, "out of memory");
    }
    dbi_record_free(record);
    return result;
}

static int by_id(const void *a, const void *b)
{
    return strcmp((*(split_case *const *)a)->id, (*(split_case *const *)b)->id);
}

/* Checks that the cases can be one cohort. */
static int check_cases(const cohort *c, dbi_error *error)
{
    const split_case *first = c->cases, *labeled = NULL;
    for (size_t i = 1; i < c->count; i++)
        if (!strcmp(c->by_id[i - 1]->id, c->by_id[i]->id))
            return dbi_fail(error, "%s: the id \"%s\" is that of %s, too", c->by_id[i]->path, c->by_id[i]->id,
                            c->by_id[i - 1]->path);
    for (size_t i = 0; i < c->count; i++) {
        const split_case *one = &c->cases[i];
        if (strcmp(one->preprocessing, first->preprocessing))
            return dbi_fail(error, "%s: prepared with %s, but %s with %s", one->path, one->preprocessing, first->path,
                            first->preprocessing);
        if (one->channels != first->channels)
            return dbi_fail(error, "%s: %lld channels, but %s has %lld", one->path, (long long)one->channels,
                            first->path, (long long)first->channels);
        if (one->has_label && labeled && one->classes != labeled->classes)
            return dbi_fail(error, "%s: %lld classes, but %s has %lld", one->path, (long long)one->classes,
                            labeled->path, (long long)labeled->classes);
        if (one->has_label && !labeled)
            labeled = one;
    }
    return 0;
}

static int read_cases(const char *const *paths, cohort *c, dbi_error *error)
{
    if (!(c->cases = dbi_alloc(c->count, sizeof *c->cases, error)) ||
        !(c->order = dbi_alloc(c->count, sizeof *c->order, error)) ||
        !(c->by_id = dbi_alloc(c->count, sizeof *c->by_id, error)))
        return -1;
    for (size_t i = 0; i < c->count; i++) {
        c->order[i] = c->by_id[i] = &c->cases[i];
        if (read_case(paths[i], &c->cases[i], error))
            return -1;
    }
    qsort(c->by_id, c->count, sizeof *c->by_id, by_id);
    return check_cases(c, error);
}

static void shuffle(cohort *c, uint64_t seed)
{
    memcpy(c->order, c->by_id, c->count * sizeof *c->order);
    dbi_random r;
    dbi_random_start(&r, seed, DBI_ROLE_SPLIT, 0, 0);
    for (size_t i = c->count; i > 1; i--) {
        size_t j = dbi_random_below(&r, (uint32_t)i);
        split_case *other = c->order[j];
        c->order[j] = c->order[i - 1];
        c->order[i - 1] = other;
    }
}

static split_case *find(const cohort *c, char *id)
{
    split_case key = {.id = id}, *pointer = &key,
               **found = bsearch(&pointer, c->by_id, c->count, sizeof *c->by_id, by_id);
    return found ? *found : NULL;
}

static int take_listed(const cohort *c, char *id, dbi_part part, dbi_error *error)
{
    split_case *one = find(c, id);
    if (!one)
        return dbi_fail(error, "no case has the id \"%s\"", id);
    if (one->part != FREE)
        return dbi_fail(error, "\"%s\" is in the %s part already", id, dbi_part_name((dbi_part)one->part));
    if (part == DBI_PART_LABELED && !one->has_label)
        return dbi_fail(error, "an unlabelled case in the labelled list: \"%s\" (%s) has no label", id, one->path);
    one->part = (int)part;
    return 0;
}

static int take_list(const cohort *c, const char *path, dbi_part part, dbi_error *error)
{
    dbi_lines lines;
    if (dbi_lines_read(path, &lines, error))
        return -1;
    int result = lines.count ? 0 : dbi_fail(error, "%s: the file is empty", path);
    for (size_t i = 0; i < lines.count && result == 0; i++)
        if (*lines.line[i] && take_listed(c, lines.line[i], part, error))
            result = dbi_fail_in(error, "%s: line %zu", path, i + 1);
    dbi_lines_free(&lines);
    return result;
}

/* Takes the next `wanted` cases that have a label and no part, from one end of the order. wanted -1: all. */
static int take(const cohort *c, int64_t wanted, bool from_end, dbi_part part, dbi_error *error)
{
    int64_t taken = 0;
    for (size_t i = 0; i < c->count && taken != wanted; i++) {
        split_case *one = c->order[from_end ? c->count - 1 - i : i];
        if (one->part == FREE && one->has_label) {
            one->part = (int)part;
            taken++;
        }
    }
    if (taken < wanted)
        return dbi_fail(error, "the %s part needs %lld cases with a label, %lld are left", dbi_part_name(part),
                        (long long)wanted, (long long)taken);
    return 0;
}

/* Makes fold `fold` of the free cases the validation part. */
static int take_fold(const cohort *c, int fold, int folds, dbi_error *error)
{
    size_t left = 0, at = 0;
    for (size_t i = 0; i < c->count; i++)
        left += c->order[i]->part == FREE && c->order[i]->has_label;
    if (left < (size_t)folds)
        return dbi_fail(error, "%d folds need as many cases with a label, %zu are left", folds, left);
    size_t begin = left * (size_t)(fold - 1) / (size_t)folds, end = left * (size_t)fold / (size_t)folds;
    for (size_t i = 0; i < c->count; i++)
        if (c->order[i]->part == FREE && c->order[i]->has_label) {
            if (at >= begin && at < end)
                c->order[i]->part = DBI_PART_VALIDATION;
            at++;
        }
    return 0;
}

static void take_unlabeled(const cohort *c, const dbi_split_settings *s)
{
    int64_t most = s->count[DBI_PART_UNLABELED], taken = 0;
    for (size_t i = 0; i < c->count; i++)
        if (c->order[i]->part == FREE) {
            bool keep = !s->list[DBI_PART_UNLABELED] && (most < 0 || taken < most);
            c->order[i]->part = keep ? DBI_PART_UNLABELED : LEFT_OUT;
            taken += keep;
        }
}

static int assign(const cohort *c, const dbi_split_settings *s, dbi_error *error)
{
    for (int part = 0; part < DBI_PARTS; part++)
        if (s->list[part] && take_list(c, s->list[part], (dbi_part)part, error))
            return -1;
    if (s->count[DBI_PART_TEST] > 0 && take(c, s->count[DBI_PART_TEST], true, DBI_PART_TEST, error))
        return -1;
    if (s->folds && take_fold(c, s->fold, s->folds, error))
        return -1;
    if (s->count[DBI_PART_VALIDATION] > 0 && take(c, s->count[DBI_PART_VALIDATION], true, DBI_PART_VALIDATION, error))
        return -1;
    if (!s->list[DBI_PART_LABELED] && take(c, s->count[DBI_PART_LABELED], false, DBI_PART_LABELED, error))
        return -1;
    take_unlabeled(c, s);
    return 0;
}

static int check_settings(size_t count, const dbi_split_settings *s, dbi_error *error)
{
    if (!count)
        return dbi_fail(error, "no cases");
    if (count > UINT32_MAX)
        return dbi_fail(error, "too many cases");
    for (int part = 0; part < DBI_PARTS; part++)
        if (s->list[part] && s->count[part] >= 0)
            return dbi_fail(error, "the %s part has both a list and a number", dbi_part_name((dbi_part)part));
    if (s->folds && (s->folds < 2 || s->fold < 1 || s->fold > s->folds))
        return dbi_fail(error, "fold %d of %d: folds are counted from 1, of at least 2", s->fold, s->folds);
    if (s->folds && (s->list[DBI_PART_VALIDATION] || s->count[DBI_PART_VALIDATION] >= 0))
        return dbi_fail(error, "a fold is the validation part: no list or number beside it");
    return 0;
}

int dbi_split(const char *const *cases, size_t count, const dbi_split_settings *settings, dbi_manifest *manifest,
              dbi_error *error)
{
    *manifest = (dbi_manifest){0};
    if (check_settings(count, settings, error))
        return -1;
    cohort c = {.count = count};
    int result = read_cases(cases, &c, error);
    if (result == 0 && settings->shuffle)
        shuffle(&c, settings->seed);
    if (result == 0)
        result = assign(&c, settings, error);
    for (int part = 0; part < DBI_PARTS; part++)
        for (size_t i = 0; i < count && result == 0; i++)
            if (c.order[i]->part == part)
                result = dbi_manifest_add(manifest, c.order[i]->path, c.order[i]->id, (dbi_part)part, error);
    for (size_t i = 0; c.cases && i < count; i++) {
        free(c.cases[i].id);
        free(c.cases[i].preprocessing);
    }
    free(c.cases);
    free(c.order);
    free(c.by_id);
    if (result)
        dbi_manifest_free(manifest);
    return result;
}

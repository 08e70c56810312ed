#include "score/compare.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "record/lines.h"
#include "score/signed_rank.h"
#include "score/summary.h"

const char *const dbi_result_score_names[DBI_RESULT_SCORES] = {"dice", "jaccard", "hd95", "asd"};

/* The keys of a row, most significant first. Each text of a key gets a number, in the order of first appearance. */
enum { KEY_LABELS, KEY_CLASS, KEY_LARGEST, KEY_METHOD, KEY_SEED, KEY_CASE, KEYS };

/* The columns of a table of results. Only two columns follow the scores. */
enum {
    COLUMN_METHOD,
    COLUMN_VARIANT,
    COLUMN_LABELS,
    COLUMN_SEED,
    COLUMN_CASE,
    COLUMN_CLASS,
    COLUMN_LARGEST,
    COLUMN_SCORES
};
enum { COLUMN_EMPTY = COLUMN_SCORES + DBI_RESULT_SCORES, COLUMN_SETTINGS, COLUMNS };
static const char *const column_names[COLUMNS] = {"method", "variant", "labels", "seed", "case",  "class",   "largest",
                                                  "dice",   "jaccard", "hd95",   "asd",  "empty", "settings"};

typedef struct result {
    const char *text[KEYS];
    uint32_t key[KEYS];
    double score[DBI_RESULT_SCORES]; /* NaN: missing */
    bool empty;
    const char *settings;
    const char *file;
    size_t line;
} result;

struct dbi_results {
    result *rows;
    size_t count, room;
    void **owned; /* texts that the rows point to */
    size_t owned_count, owned_room;
};

/* ---- reading ---- */

dbi_results *dbi_results_new(dbi_error *error)
{
    return dbi_alloc(1, sizeof(dbi_results), error);
}

void dbi_results_free(dbi_results *results)
{
    if (!results)
        return;
    for (size_t i = 0; i < results->owned_count; i++)
        free(results->owned[i]);
    free(results->owned);
    free(results->rows);
    free(results);
}

/* Makes room for one more item. NULL on failure; then the array is as it was. */
static void *grown(void *items, size_t count, size_t *room, size_t size, dbi_error *error)
{
    if (count < *room)
        return items;
    const size_t more = *room ? 2 * *room : 64;
    void *larger = more <= SIZE_MAX / size ? realloc(items, more * size) : NULL;
    if (!larger)
        dbi_fail(error, "out of memory");
    else
        *room = more;
    return larger;
}

/* Makes the results own the text; it is freed on failure. */
static const char *own(dbi_results *results, char *text, dbi_error *error)
{
    void **owned =
        text ? grown(results->owned, results->owned_count, &results->owned_room, sizeof *owned, error) : NULL;
    if (!owned) {
        free(text);
        dbi_fail(error, "out of memory");
        return NULL;
    }
    results->owned = owned;
    return results->owned[results->owned_count++] = text;
}

static result *append(dbi_results *results, dbi_error *error)
{
    result *rows = grown(results->rows, results->count, &results->room, sizeof *rows, error);
    if (!rows)
        return NULL;
    results->rows = rows;
    rows[results->count] = (result){0};
    return rows + results->count++;
}

static int read_header(char *line, int position[COLUMNS], dbi_error *error)
{
    for (int c = 0; c < COLUMNS; c++)
        position[c] = -1;
    int at = 0;
    for (char *name; (name = strsep(&line, "\t")); at++)
        for (int c = 0; c < COLUMNS; c++)
            if (!strcmp(name, column_names[c])) {
                if (position[c] >= 0)
                    return dbi_fail(error, "two columns \"%s\"", name);
                position[c] = at;
            }
    for (int c = 0; c < COLUMNS; c++)
        if (position[c] < 0)
            return dbi_fail(error, "no column \"%s\"", column_names[c]);
    return 0;
}

/* "nan", "-" and other words are missing values, but a text that only begins as a number is an error. */
static int read_score(const char *text, double *value, dbi_error *error)
{
    char *end;
    *value = strtod(text, &end);
    if (end != text && *end)
        return dbi_fail(error, "\"%.40s\" is not a number", text);
    if (end == text || !isfinite(*value))
        *value = NAN;
    return 0;
}

static int read_row(dbi_results *results, char *line, const int position[COLUMNS], dbi_error *error)
{
    const char *field[COLUMNS] = {0};
    int at = 0;
    for (char *text; (text = strsep(&line, "\t")); at++)
        for (int c = 0; c < COLUMNS; c++)
            if (position[c] == at)
                field[c] = text;
    for (int c = 0; c < COLUMNS; c++)
        if (!field[c] || (!*field[c] && c < COLUMN_SCORES))
            return dbi_fail(error, "no %s", column_names[c]);
    if (strcmp(field[COLUMN_LARGEST], "0") && strcmp(field[COLUMN_LARGEST], "1"))
        return dbi_fail(error, "largest is \"%.40s\", neither 0 nor 1", field[COLUMN_LARGEST]);
    char *method;
    const bool variant = strcmp(field[COLUMN_VARIANT], "-") != 0;
    if (asprintf(&method, "%s%s%s", field[COLUMN_METHOD], variant ? "+" : "", variant ? field[COLUMN_VARIANT] : "") < 0)
        return dbi_fail(error, "out of memory");
    const char *kept = own(results, method, error);
    result *r = kept ? append(results, error) : NULL;
    if (!r)
        return -1;
    r->text[KEY_LABELS] = field[COLUMN_LABELS];
    r->text[KEY_CLASS] = field[COLUMN_CLASS];
    r->text[KEY_LARGEST] = field[COLUMN_LARGEST];
    r->text[KEY_METHOD] = kept;
    r->text[KEY_SEED] = field[COLUMN_SEED];
    r->text[KEY_CASE] = field[COLUMN_CASE];
    r->settings = field[COLUMN_SETTINGS];
    r->empty = !strcmp(field[COLUMN_EMPTY], "prediction") || !strcmp(field[COLUMN_EMPTY], "reference");
    for (int s = 0; s < DBI_RESULT_SCORES; s++)
        if (read_score(field[COLUMN_SCORES + s], &r->score[s], error))
            return dbi_fail_in(error, "%s", dbi_result_score_names[s]);
    return 0;
}

int dbi_results_read(dbi_results *results, const char *path, dbi_error *error)
{
    dbi_lines lines;
    const char *file = own(results, strdup(strcmp(path, "-") ? path : "standard input"), error);
    if (!file || dbi_lines_read(path, &lines, error))
        return -1;
    int position[COLUMNS];
    int status = lines.count ? read_header(lines.line[0], position, error) : dbi_fail(error, "empty");
    if (status)
        dbi_fail_in(error, "%s", file);
    for (size_t i = 1; i < lines.count && !status; i++) {
        status = read_row(results, lines.line[i], position, error);
        if (status) {
            dbi_fail_in(error, "%s: line %zu", file, i + 1);
        } else {
            results->rows[results->count - 1].file = file;
            results->rows[results->count - 1].line = i + 1;
        }
    }
    free(lines.line);
    return own(results, lines.text, error) && !status ? 0 : -1;
}

/* ---- order ---- */

typedef struct name {
    const char *text;
    size_t row;
} name;

static int by_text(const void *a, const void *b)
{
    const name *x = a, *y = b;
    const int order = strcmp(x->text, y->text);
    return order ? order : (x->row > y->row) - (x->row < y->row);
}

/* Numbers the texts of a key by their first row. Equal texts get the same number. */
static int number_key(dbi_results *results, int key, dbi_error *error)
{
    name *names = dbi_alloc(results->count, sizeof *names, error);
    if (!names)
        return -1;
    for (size_t i = 0; i < results->count; i++)
        names[i] = (name){results->rows[i].text[key], i};
    qsort(names, results->count, sizeof *names, by_text);
    for (size_t i = 0, first = 0; i < results->count; i++) {
        if (strcmp(names[i].text, names[first].text))
            first = i;
        results->rows[names[i].row].key[key] = (uint32_t)names[first].row;
        results->rows[names[i].row].text[key] = names[first].text;
    }
    free(names);
    return 0;
}

static int compare_keys(const result *a, const result *b, int first, int end)
{
    for (int k = first; k < end; k++)
        if (a->key[k] != b->key[k])
            return a->key[k] < b->key[k] ? -1 : 1;
    return 0;
}

static int by_keys(const void *a, const void *b)
{
    return compare_keys(a, b, 0, KEYS);
}

/* Puts all classes of one case of one training together. */
static int by_case(const void *a, const void *b)
{
    const result *x = a, *y = b;
    const uint32_t class = x->key[KEY_CLASS];
    const int order = x->key[KEY_LABELS] != y->key[KEY_LABELS] ? (x->key[KEY_LABELS] < y->key[KEY_LABELS] ? -1 : 1)
                                                               : compare_keys(x, y, KEY_LARGEST, KEYS);
    return order ? order : (class > y->key[KEY_CLASS]) - (class < y->key[KEY_CLASS]);
}

static bool same_scores(const result *a, const result *b)
{
    for (int s = 0; s < DBI_RESULT_SCORES; s++)
        if (a->score[s] != b->score[s] && !(isnan(a->score[s]) && isnan(b->score[s])))
            return false;
    return a->empty == b->empty && !strcmp(a->settings, b->settings);
}

/* Drops rows that are there twice. The rows are sorted. */
static int drop_repeated(dbi_results *results, dbi_error *error)
{
    size_t kept = 0;
    for (size_t i = 0; i < results->count; i++) {
        const result *r = results->rows + i, *last = results->rows + (kept ? kept - 1 : 0);
        if (!kept || by_keys(last, r)) {
            results->rows[kept++] = *r;
        } else if (!same_scores(last, r)) {
            return dbi_fail(
                error, "%s: line %zu: other %s for method %s, %s labels, seed %s, case %s than in line %zu of %s",
                r->file, r->line, strcmp(r->settings, last->settings) ? "settings" : "scores", r->text[KEY_METHOD],
                r->text[KEY_LABELS], r->text[KEY_SEED], r->text[KEY_CASE], last->line, last->file);
        }
    }
    results->count = kept;
    return 0;
}

/* For each case of each training that has several classes, adds the mean over its classes. */
static int add_class_means(dbi_results *results, dbi_error *error)
{
    const size_t count = results->count;
    qsort(results->rows, count, sizeof *results->rows, by_case);
    for (size_t first = 0, end; first < count; first = end) {
        result mean = results->rows[first];
        for (end = first + 1; end < count && results->rows[end].key[KEY_LABELS] == mean.key[KEY_LABELS] &&
                              !compare_keys(results->rows + end, &mean, KEY_LARGEST, KEYS);
             end++) {
            for (int s = 0; s < DBI_RESULT_SCORES; s++)
                mean.score[s] += results->rows[end].score[s];
            mean.empty = mean.empty || results->rows[end].empty;
        }
        if (end - first < 2)
            continue;
        for (int s = 0; s < DBI_RESULT_SCORES; s++)
            mean.score[s] /= (double)(end - first);
        mean.text[KEY_CLASS] = "mean";
        mean.key[KEY_CLASS] = UINT32_MAX;
        result *added = append(results, error);
        if (!added)
            return -1;
        *added = mean;
    }
    qsort(results->rows, results->count, sizeof *results->rows, by_keys);
    return 0;
}

static int put_in_order(dbi_results *results, dbi_error *error)
{
    if (!results->count)
        return dbi_fail(error, "no results");
    if (results->count >= UINT32_MAX / 2)
        return dbi_fail(error, "too many results");
    for (int k = 0; k < KEYS; k++)
        if (number_key(results, k, error))
            return -1;
    for (size_t i = 0; i < results->count; i++)
        results->rows[i].key[KEY_LARGEST] = results->rows[i].text[KEY_LARGEST][0] == '1';
    qsort(results->rows, results->count, sizeof *results->rows, by_keys);
    return drop_repeated(results, error) || add_class_means(results, error) ? -1 : 0;
}

/* ---- statistics ---- */

/* The rows of one method in one block, ordered by seed and case. */
typedef struct group {
    const result *rows;
    size_t count;
} group;

/* The sum and count of a mean. */
typedef struct gathered {
    uint32_t key;
    size_t count;
    double sum;
} gathered;

static int by_key(const void *a, const void *b)
{
    const uint32_t x = ((const gathered *)a)->key, y = ((const gathered *)b)->key;
    return (x > y) - (x < y);
}

static bool has_seed(const group *g, uint32_t seed)
{
    size_t low = 0, high = g->count;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (g->rows[middle].key[KEY_SEED] < seed)
            low = middle + 1;
        else
            high = middle;
    }
    return low < g->count && g->rows[low].key[KEY_SEED] == seed;
}

/* Sums of one score (or, with ANY_SCORE, counts of rows) by seed or by case, in the order of that key. Missing values
 * are left out, and so are seeds that `with`, unless NULL, does not have. */
enum { ANY_SCORE = -1 };

static int gather(const group *g, int key, int score, const group *with, gathered **out, size_t *count,
                  dbi_error *error)
{
    gathered *all = dbi_alloc(g->count, sizeof *all, error);
    if (!all)
        return -1;
    size_t n = 0;
    for (size_t i = 0; i < g->count; i++) {
        const double value = score == ANY_SCORE ? 0 : g->rows[i].score[score];
        if (!isnan(value) && (!with || has_seed(with, g->rows[i].key[KEY_SEED])))
            all[n++] = (gathered){g->rows[i].key[key], 1, value};
    }
    qsort(all, n, sizeof *all, by_key);
    size_t kept = 0;
    for (size_t i = 0; i < n; i++)
        if (kept && all[kept - 1].key == all[i].key) {
            all[kept - 1].count++;
            all[kept - 1].sum += all[i].sum;
        } else {
            all[kept++] = all[i];
        }
    *out = all;
    *count = kept;
    return 0;
}

static size_t count_seeds(const group *g, const group *with)
{
    size_t count = 0;
    for (size_t i = 0; i < g->count; i++)
        if ((!i || g->rows[i].key[KEY_SEED] != g->rows[i - 1].key[KEY_SEED]) &&
            (!with || has_seed(with, g->rows[i].key[KEY_SEED])))
            count++;
    return count;
}

static int describe(const group *g, int score, uint64_t seed, dbi_compared_score *out, dbi_error *error)
{
    gathered *cases = NULL, *seeds = NULL;
    size_t n = 0, m = 0;
    double *means = dbi_alloc(g->count, sizeof *means, error);
    int status = means && !gather(g, KEY_CASE, score, NULL, &cases, &n, error) &&
                         !gather(g, KEY_SEED, score, NULL, &seeds, &m, error)
                     ? 0
                     : -1;
    *out = (dbi_compared_score){.mean = NAN,
                                .low = NAN,
                                .high = NAN,
                                .sd = NAN,
                                .difference = NAN,
                                .difference_low = NAN,
                                .difference_high = NAN,
                                .p = NAN};
    for (size_t i = 0; i < g->count; i++)
        out->missing += isnan(g->rows[i].score[score]) ? 1 : 0;
    if (!status && n) {
        dbi_score_summary summary;
        for (size_t i = 0; i < n; i++)
            means[i] = cases[i].sum / (double)cases[i].count;
        status = dbi_score_summarize(means, n, seed, &summary, error);
        out->mean = summary.mean;
        out->low = summary.low;
        out->high = summary.high;
    }
    if (!status && m > 1) {
        double sum = 0, squares = 0;
        for (size_t i = 0; i < m; i++)
            sum += seeds[i].sum / (double)seeds[i].count;
        for (size_t i = 0; i < m; i++)
            squares += pow(seeds[i].sum / (double)seeds[i].count - sum / (double)m, 2);
        out->sd = sqrt(squares / (double)(m - 1));
    }
    free(cases);
    free(seeds);
    free(means);
    return status;
}

/* The differences of the case means, for the cases that both have. */
static size_t pair(const gathered *a, size_t a_count, const gathered *b, size_t b_count, double *differences)
{
    size_t n = 0;
    for (size_t i = 0, j = 0; i < a_count && j < b_count;) {
        if (a[i].key == b[j].key)
            differences[n++] = a[i].sum / (double)a[i].count - b[j].sum / (double)b[j].count;
        const bool advance_a = a[i].key <= b[j].key, advance_b = b[j].key <= a[i].key;
        i += advance_a;
        j += advance_b;
    }
    return n;
}

static int contrast(const group *g, const group *baseline, int score, uint64_t seed, dbi_compared_score *out,
                    dbi_error *error)
{
    gathered *a = NULL, *b = NULL;
    size_t a_count = 0, b_count = 0;
    const size_t common = count_seeds(g, baseline);
    double *differences = dbi_alloc(g->count, sizeof *differences, error);
    int status = differences && !gather(g, KEY_CASE, score, common ? baseline : NULL, &a, &a_count, error) &&
                         !gather(baseline, KEY_CASE, score, common ? g : NULL, &b, &b_count, error)
                     ? 0
                     : -1;
    const size_t n = status ? 0 : pair(a, a_count, b, b_count, differences);
    dbi_score_summary summary;
    if (n && !(status = dbi_score_summarize(differences, n, seed, &summary, error)) &&
        !(status = dbi_signed_rank(differences, n, &out->p, error))) {
        out->pairs = n;
        out->seeds = common;
        out->difference = summary.mean;
        out->difference_low = summary.low;
        out->difference_high = summary.high;
    }
    free(a);
    free(b);
    free(differences);
    return status;
}

static int compare_group(const group *g, const group *baseline, uint64_t seed, dbi_compared *out, dbi_error *error)
{
    const result *r = g->rows;
    *out = (dbi_compared){.method = r->text[KEY_METHOD],
                          .labels = r->text[KEY_LABELS],
                          .class = r->text[KEY_CLASS],
                          .largest = r->key[KEY_LARGEST],
                          .seeds = count_seeds(g, NULL)};
    gathered *cases;
    if (gather(g, KEY_CASE, ANY_SCORE, NULL, &cases, &out->cases, error))
        return -1;
    free(cases);
    for (size_t i = 0; i < g->count; i++)
        out->empty += r[i].empty;
    for (int s = 0; s < DBI_RESULT_SCORES; s++)
        if (describe(g, s, seed, &out->score[s], error) ||
            (baseline && contrast(g, baseline, s, seed, &out->score[s], error)))
            return -1;
    return 0;
}

/* The end of the rows that have the same keys as row `first`, from the first key to the one before `end`. */
static size_t same_until(const dbi_results *results, size_t first, int end)
{
    size_t i = first;
    while (i < results->count && !compare_keys(results->rows + i, results->rows + first, 0, end))
        i++;
    return i;
}

/* Compares the rows of a block: one number of labels, one class, raw or largest component. */
static int compare_block(const dbi_results *results, size_t first, size_t end, uint64_t seed,
                         dbi_compare_table *comparison, bool *met, dbi_error *error)
{
    group baseline = {0};
    for (size_t i = first; i < end && comparison->baseline; i += baseline.rows ? end : 1)
        if (!strcmp(results->rows[i].text[KEY_METHOD], comparison->baseline))
            baseline = (group){results->rows + i, same_until(results, i, KEY_METHOD + 1) - i};
    *met = *met || baseline.rows;
    for (size_t i = first, next; i < end; i = next) {
        next = same_until(results, i, KEY_METHOD + 1);
        const group g = {results->rows + i, next - i};
        const bool compared = baseline.rows && g.rows != baseline.rows;
        if (compare_group(&g, compared ? &baseline : NULL, seed, comparison->rows + comparison->count, error))
            return -1;
        comparison->count++;
    }
    return 0;
}

int dbi_compare(dbi_results *results, const char *baseline, uint64_t seed, dbi_compare_table *comparison,
                dbi_error *error)
{
    *comparison = (dbi_compare_table){.baseline = baseline};
    if (put_in_order(results, error))
        return -1;
    size_t groups = 0;
    for (size_t i = 0; i < results->count; i = same_until(results, i, KEY_METHOD + 1))
        groups++;
    if (groups > DBI_COMPARE_ROWS)
        return dbi_fail(error, "%zu methods, numbers of labels and classes to compare, more than %d", groups,
                        DBI_COMPARE_ROWS);
    comparison->rows = dbi_alloc(groups, sizeof *comparison->rows, error);
    int status = comparison->rows ? 0 : -1;
    bool met = false;
    for (size_t i = 0, end; i < results->count && !status; i = end) {
        end = same_until(results, i, KEY_METHOD);
        status = compare_block(results, i, end, seed, comparison, &met, error);
    }
    if (!status && baseline && !met)
        status = dbi_fail(error, "no results of the baseline %s", baseline);
    if (status)
        dbi_compare_table_free(comparison);
    return status;
}

void dbi_compare_table_free(dbi_compare_table *comparison)
{
    free(comparison->rows);
    *comparison = (dbi_compare_table){0};
}

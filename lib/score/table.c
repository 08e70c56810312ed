#include "score/table.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "record/json.h"
#include "record/sink.h"
#include "score/summary.h"

static int append(dbi_table *table, const char *id, int64_t classes, dbi_table_case **added, dbi_error *error)
{
    dbi_table_case *more = realloc(table->cases, (table->count + 1) * sizeof *more);
    if (!more)
        return dbi_fail(error, "out of memory");
    table->cases = more;
    *added = more + table->count;
    **added = (dbi_table_case){
        .id = strdup(id), .classes = classes, .scores = dbi_alloc((size_t)classes, sizeof(dbi_scores), error)};
    table->count++;
    table->classes = classes > table->classes ? classes : table->classes;
    if (!(*added)->id)
        dbi_fail(error, "out of memory");
    return (*added)->id && (*added)->scores ? 0 : -1;
}

static int64_t most_of(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

int dbi_table_add(dbi_table *table, const dbi_label *prediction, const dbi_label *reference, dbi_error *error)
{
    double spacing[3] = {1, 1, 1};
    if (table->settings.mm && !prediction->placed && !reference->placed)
        return dbi_fail(error, "no affine, so nothing is known in mm");
    if (table->settings.mm)
        dbi_grid_spacing(reference->placed ? &reference->grid : &prediction->grid, spacing);
    /* Labels without foreground and without "classes" are scored as one class, 1. */
    const int64_t said = most_of(prediction->classes, reference->classes),
                  seen = most_of(prediction->most, reference->most);
    dbi_table_case *added = NULL;
    if (append(table, reference->named || !prediction->named ? reference->id : prediction->id,
               most_of(1, most_of(said, seen)), &added, error))
        return -1;
    for (int64_t k = 0; k < added->classes; k++)
        if (dbi_score(prediction->voxels, reference->voxels, (uint8_t)(k + 1), reference->grid.shape, spacing,
                      table->settings.tolerance, &added->scores[k], error))
            return -1;
    return 0;
}

void dbi_table_free(dbi_table *table)
{
    for (size_t i = 0; i < table->count; i++) {
        free(table->cases[i].id);
        free(table->cases[i].scores);
    }
    free(table->cases);
    *table = (dbi_table){0};
}

static dbi_scores scores_of(const dbi_table *table, size_t index, int64_t k)
{
    const dbi_table_case *c = table->cases + index;
    return k < c->classes ? c->scores[k] : dbi_score_of_nothing();
}

/* A tab or a line end in a name must not begin another column. */
static int write_name(const char *name, dbi_sink *sink, dbi_error *error)
{
    for (; *name; name++)
        if (dbi_sink_printf(sink, error, "%c", (unsigned char)*name < ' ' ? '?' : *name))
            return -1;
    return 0;
}

int dbi_table_write_cases(const dbi_table *table, dbi_sink *sink, dbi_error *error)
{
    if (dbi_sink_printf(sink, error, "case\tclass"))
        return -1;
    for (int m = 0; m < DBI_METRICS; m++)
        if (dbi_sink_printf(sink, error, "\t%s", dbi_metric_names[m]))
            return -1;
    if (dbi_sink_printf(sink, error, "\tempty\n"))
        return -1;
    for (size_t i = 0; i < table->count; i++)
        for (int64_t k = 0; k < table->classes; k++) {
            const dbi_scores s = scores_of(table, i, k);
            if (write_name(table->cases[i].id, sink, error) || dbi_sink_printf(sink, error, "\t%lld", (long long)k + 1))
                return -1;
            for (int m = 0; m < DBI_METRICS; m++)
                if (dbi_sink_printf(sink, error, "\t%.9g", s.value[m]))
                    return -1;
            if (dbi_sink_printf(sink, error, "\t%s\n", dbi_emptiness_names[s.empty]))
                return -1;
        }
    return 0;
}

/* The values of one metric, case by case: of class k or, when k is K, of the mean over the classes. Returns how many
 * cases have an empty mask on one side. */
static size_t collect(const dbi_table *table, int64_t k, int metric, double *values)
{
    const int64_t first = k < table->classes ? k : 0, end = k < table->classes ? k + 1 : table->classes;
    size_t lost = 0;
    for (size_t i = 0; i < table->count; i++) {
        bool one_empty = false;
        values[i] = 0;
        for (int64_t c = first; c < end; c++) {
            const dbi_scores s = scores_of(table, i, c);
            values[i] += s.value[metric] / (double)(end - first);
            one_empty = one_empty || s.empty == DBI_EMPTY_PREDICTION || s.empty == DBI_EMPTY_REFERENCE;
        }
        lost += one_empty;
    }
    return lost;
}

typedef int line_writer(void *to, const char *class, int metric, const dbi_score_summary *summary, size_t lost,
                        dbi_error *error);

static int summarize(const dbi_table *table, line_writer *write, void *to, dbi_error *error)
{
    double *values = dbi_alloc(table->count, sizeof *values, error);
    int status = values ? 0 : -1;
    const int64_t rows = table->classes + (table->classes > 1);
    for (int64_t k = 0; k < rows && !status; k++)
        for (int m = 0; m < DBI_METRICS && !status; m++) {
            char class[16];
            dbi_score_summary summary;
            snprintf(class, sizeof class, k < table->classes ? "%lld" : "mean", (long long)k + 1);
            const size_t lost = collect(table, k, m, values);
            status = dbi_score_summarize(values, table->count, table->settings.seed, &summary, error) ||
                             write(to, class, m, &summary, lost, error)
                         ? -1
                         : 0;
        }
    free(values);
    return status;
}

static int write_line(void *to, const char *class, int metric, const dbi_score_summary *s, size_t lost,
                      dbi_error *error)
{
    return dbi_sink_printf(to, error, "%s\t%s\t%zu\t%.9g\t%.9g\t%.9g\t%.9g\t%.9g\t%zu\n", class,
                           dbi_metric_names[metric], s->count, s->mean, s->sd, s->median, s->low, s->high, lost);
}

int dbi_table_write_summary(const dbi_table *table, dbi_sink *sink, dbi_error *error)
{
    if (dbi_sink_printf(sink, error, "class\tmetric\tcases\tmean\tsd\tmedian\tlow\thigh\tone_empty\n"))
        return -1;
    return summarize(table, write_line, sink, error);
}

/* JSON has no NaN. */
static json_t *number(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

static int write_object(void *to, const char *class, int metric, const dbi_score_summary *s, size_t lost,
                        dbi_error *error)
{
    json_t *row =
        json_pack("{s:s, s:s, s:I, s:o, s:o, s:o, s:o, s:o, s:I}", "class", class, "metric", dbi_metric_names[metric],
                  "cases", (json_int_t)s->count, "mean", number(s->mean), "sd", number(s->sd), "median",
                  number(s->median), "low", number(s->low), "high", number(s->high), "one_empty", (json_int_t)lost);
    return row && !json_array_append_new(to, row) ? 0 : dbi_fail(error, "out of memory");
}

static json_t *case_object(const dbi_table *table, size_t index, int64_t k)
{
    const dbi_scores s = scores_of(table, index, k);
    json_t *row = json_pack("{s:s, s:I, s:s}", "case", table->cases[index].id, "class", (json_int_t)k + 1, "empty",
                            dbi_emptiness_names[s.empty]);
    for (int m = 0; row && m < DBI_METRICS; m++)
        if (json_object_set_new(row, dbi_metric_names[m], number(s.value[m]))) {
            json_decref(row);
            row = NULL;
        }
    return row;
}

static json_t *document(const dbi_table *table, dbi_error *error)
{
    json_t *cases = json_array(), *summary = json_array();
    json_t *all = json_pack("{s:s, s:f, s:o, s:o}", "unit", table->settings.mm ? "mm" : "voxel", "tolerance",
                            table->settings.tolerance, "cases", cases, "summary", summary);
    if (!all) {
        dbi_fail(error, "out of memory");
        return NULL;
    }
    for (size_t i = 0; i < table->count; i++)
        for (int64_t k = 0; k < table->classes; k++)
            if (json_array_append_new(cases, case_object(table, i, k))) {
                dbi_fail(error, "case \"%s\" does not fit into JSON", table->cases[i].id);
                json_decref(all);
                return NULL;
            }
    if (summarize(table, write_object, summary, error)) {
        json_decref(all);
        return NULL;
    }
    return all;
}

int dbi_table_write_json(const dbi_table *table, dbi_sink *sink, dbi_error *error)
{
    json_t *all = document(table, error);
    char *text = all ? dbi_json_text(all, JSON_INDENT(1) | JSON_REAL_PRECISION(9), error) : NULL;
    json_decref(all);
    if (!all)
        return -1;
    if (!text)
        return dbi_fail(error, "out of memory");
    int status = dbi_sink_write(sink, text, strlen(text), error) || dbi_sink_write(sink, "\n", 1, error) ? -1 : 0;
    free(text);
    return status;
}

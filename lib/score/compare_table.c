#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "record/sink.h"
#include "score/compare_table.h"

/* The text of one block: rows of cells, the titles first. */
enum { COLUMNS_MOST = 3 + DBI_RESULT_SCORES + 1, TEXT = 256 };

typedef struct line {
    char text[COLUMNS_MOST][TEXT];
} line;

static const char *const titles[DBI_RESULT_SCORES] = {"Dice", "Jaccard", "HD95", "ASD"};

/* Digits behind the point: three for ratios, two for distances. */
static int digits(int score)
{
    return score == DBI_RESULT_DICE || score == DBI_RESULT_JACCARD ? 3 : 2;
}

static void format_number(char *text, size_t size, const char *format, int precision, double value)
{
    if (isnan(value))
        snprintf(text, size, "-");
    else
        snprintf(text, size, format, precision, value);
}

/* "0.818 ± 0.012 [0.770, 0.851]", with a star when values are missing. */
static void format_mean(char text[TEXT], int score, const dbi_compared_score *s)
{
    char mean[48], sd[48], low[48], high[48];
    const int d = digits(score);
    format_number(mean, sizeof mean, "%.*f", d, s->mean);
    format_number(sd, sizeof sd, "%.*f", d, s->sd);
    format_number(low, sizeof low, "%.*f", d, s->low);
    format_number(high, sizeof high, "%.*f", d, s->high);
    snprintf(text, TEXT, "%s ± %s [%s, %s]%s", mean, sd, low, high, s->missing ? "*" : "");
}

/* "+0.149 [+0.050, +0.252] p 0.0021" */
static void format_difference(char text[TEXT], int score, const dbi_compared_score *s)
{
    char p[64];
    const int d = digits(score);
    if (!s->pairs) {
        snprintf(text, TEXT, "-");
        return;
    }
    if (s->p < 1e-4)
        snprintf(p, sizeof p, "%.0e", s->p);
    else
        snprintf(p, sizeof p, "%.*f", s->p < 0.001 ? 4 : 3, s->p);
    snprintf(text, TEXT, "%+.*f [%+.*f, %+.*f] p %s", d, s->difference, d, s->difference_low, d, s->difference_high, p);
}

static void fill_means(const dbi_compared *row, line *l)
{
    snprintf(l->text[0], TEXT, "%s", row->method);
    snprintf(l->text[1], TEXT, "%zu", row->seeds);
    snprintf(l->text[2], TEXT, "%zu", row->cases);
    for (int s = 0; s < DBI_RESULT_SCORES; s++)
        format_mean(l->text[3 + s], s, &row->score[s]);
    snprintf(l->text[3 + DBI_RESULT_SCORES], TEXT, "%zu", row->empty);
}

static void fill_differences(const dbi_compared *row, line *l)
{
    snprintf(l->text[0], TEXT, "%s", row->method);
    snprintf(l->text[1], TEXT, "%zu", row->score[0].seeds);
    snprintf(l->text[2], TEXT, "%zu", row->score[0].pairs);
    for (int s = 0; s < DBI_RESULT_SCORES; s++)
        format_difference(l->text[3 + s], s, &row->score[s]);
}

/* The number of characters, not of bytes: in UTF-8 only the first byte of a character counts. */
static int width(const char *text)
{
    int n = 0;
    for (; *text; text++)
        n += ((unsigned char)*text & 0xC0) != 0x80;
    return n;
}

static int write_lines(const line *lines, size_t count, int columns, bool markdown, dbi_sink *sink, dbi_error *error)
{
    int widest[COLUMNS_MOST] = {0};
    for (size_t i = 0; i < count; i++)
        for (int c = 0; c < columns; c++)
            widest[c] = width(lines[i].text[c]) > widest[c] ? width(lines[i].text[c]) : widest[c];
    for (size_t i = 0; i < count; i++) {
        for (int c = 0; c < columns; c++) {
            const char *text = lines[i].text[c];
            const int padding = markdown || c == columns - 1 ? 0 : widest[c] - width(text);
            if (dbi_sink_printf(sink, error, "%s%s%*s",
                                markdown ? "| "
                                : c      ? "  "
                                         : "",
                                text, padding, "") ||
                (markdown && dbi_sink_printf(sink, error, " %s", c == columns - 1 ? "|" : "")))
                return -1;
        }
        if (dbi_sink_printf(sink, error, "\n"))
            return -1;
        for (int c = 0; markdown && i == 0 && c < columns; c++)
            if (dbi_sink_printf(sink, error, "| --- %s", c == columns - 1 ? "|\n" : ""))
                return -1;
    }
    return 0;
}

static void fill_titles(line *l, const char *second, const char *third)
{
    snprintf(l->text[0], TEXT, "method");
    snprintf(l->text[1], TEXT, "%s", second);
    snprintf(l->text[2], TEXT, "%s", third);
    for (int s = 0; s < DBI_RESULT_SCORES; s++)
        snprintf(l->text[3 + s], TEXT, "%s", titles[s]);
    snprintf(l->text[3 + DBI_RESULT_SCORES], TEXT, "empty");
}

static bool same_block(const dbi_compared *a, const dbi_compared *b)
{
    return !strcmp(a->labels, b->labels) && !strcmp(a->class, b->class) && a->largest == b->largest;
}

static int write_block(const dbi_compare_table *comparison, size_t first, size_t end, bool classes, bool markdown,
                       dbi_sink *sink, dbi_error *error)
{
    const dbi_compared *row = comparison->rows + first;
    line *lines = dbi_alloc(end - first + 1, sizeof *lines, error);
    if (!lines)
        return -1;
    fill_titles(lines, "seeds", "cases");
    for (size_t i = first; i < end; i++)
        fill_means(comparison->rows + i, lines + 1 + i - first);
    const char *strong = markdown ? "**" : "", *gap = markdown ? "\n" : "";
    int status = dbi_sink_printf(sink, error, "%s%s%s labels, %s%s%s%s\n%s", first ? "\n" : "", strong, row->labels,
                                 row->largest ? "largest component" : "as predicted", classes ? ", class " : "",
                                 classes ? row->class : "", strong, gap) ||
                         write_lines(lines, end - first + 1, COLUMNS_MOST, markdown, sink, error)
                     ? -1
                     : 0;
    size_t compared = 0;
    fill_titles(lines, "seeds", "pairs");
    for (size_t i = first; i < end; i++)
        if (comparison->rows[i].score[0].pairs)
            fill_differences(comparison->rows + i, lines + 1 + compared++);
    if (!status && compared &&
        (dbi_sink_printf(sink, error, "\nDifference to %s:\n%s", comparison->baseline, gap) ||
         write_lines(lines, compared + 1, COLUMNS_MOST - 1, markdown, sink, error)))
        status = -1;
    free(lines);
    return status;
}

static int write_legend(const dbi_compare_table *comparison, dbi_sink *sink, dbi_error *error)
{
    size_t empty = 0, missing = 0;
    for (size_t i = 0; i < comparison->count; i++) {
        empty += comparison->rows[i].empty;
        for (int s = 0; s < DBI_RESULT_SCORES; s++)
            missing += comparison->rows[i].score[s].missing;
    }
    if (dbi_sink_printf(sink, error,
                        "\nMean over cases and seeds ± standard deviation of the seeds' means [95 %% interval of the "
                        "mean: bootstrap of the cases' "
                        "means over the seeds].\n"))
        return -1;
    if (comparison->baseline &&
        dbi_sink_printf(
            sink, error,
            "Differences: of the cases' means over the seeds that both have [95 %% interval: bootstrap]; p of "
            "Wilcoxon's signed-rank test over the cases, two-sided, not corrected for the number of tests.\n"))
        return -1;
    if (empty && dbi_sink_printf(sink, error,
                                 "empty: so many times one of prediction and reference was empty; its Dice is 0 and "
                                 "its distances are the volume's diagonal.\n"))
        return -1;
    return missing ? dbi_sink_printf(sink, error, "*: values that are not numbers are left out, %zu in all.\n", missing)
                   : 0;
}

static int write_number(double value, dbi_sink *sink, dbi_error *error)
{
    return isnan(value) ? dbi_sink_printf(sink, error, "\t-") : dbi_sink_printf(sink, error, "\t%.9g", value);
}

static int write_tsv(const dbi_compare_table *comparison, dbi_sink *sink, dbi_error *error)
{
    if (dbi_sink_printf(sink, error,
                        "labels\tclass\tlargest\tmethod\tscore\tseeds\tcases\tempty\tmissing\tmean\tsd\tlow\thigh\tbase"
                        "line\tcommon_seeds\t"
                        "pairs\tdifference\tdifference_low\tdifference_high\tp\n"))
        return -1;
    for (size_t i = 0; i < comparison->count; i++)
        for (int s = 0; s < DBI_RESULT_SCORES; s++) {
            const dbi_compared *r = comparison->rows + i;
            const dbi_compared_score *v = r->score + s;
            const double before[] = {v->mean, v->sd, v->low, v->high},
                         after[] = {v->difference, v->difference_low, v->difference_high, v->p};
            int status =
                dbi_sink_printf(sink, error, "%s\t%s\t%d\t%s\t%s\t%zu\t%zu\t%zu\t%zu", r->labels, r->class, r->largest,
                                r->method, dbi_result_score_names[s], r->seeds, r->cases, r->empty, v->missing);
            for (size_t k = 0; k < sizeof before / sizeof *before && !status; k++)
                status = write_number(before[k], sink, error);
            if (!status)
                status = dbi_sink_printf(sink, error, "\t%s\t%zu\t%zu", v->pairs ? comparison->baseline : "-", v->seeds,
                                         v->pairs);
            for (size_t k = 0; k < sizeof after / sizeof *after && !status; k++)
                status = write_number(after[k], sink, error);
            if (status || dbi_sink_printf(sink, error, "\n"))
                return -1;
        }
    return 0;
}

int dbi_compare_table_write(const dbi_compare_table *comparison, dbi_compare_format format, dbi_sink *sink,
                            dbi_error *error)
{
    if (format == DBI_COMPARE_TSV)
        return write_tsv(comparison, sink, error);
    bool classes = false;
    for (size_t i = 0; i < comparison->count; i++)
        classes = classes || strcmp(comparison->rows[i].class, comparison->rows[0].class);
    for (size_t first = 0, end; first < comparison->count; first = end) {
        for (end = first + 1; end < comparison->count && same_block(comparison->rows + first, comparison->rows + end);
             end++)
            ;
        if (write_block(comparison, first, end, classes, format == DBI_COMPARE_MARKDOWN, sink, error))
            return -1;
    }
    return write_legend(comparison, sink, error);
}

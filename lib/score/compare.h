/* Results of many trainings: what each method reaches, and how much it differs from a baseline. */
#ifndef DBI_SCORE_COMPARE_H
#define DBI_SCORE_COMPARE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* So many rows at most; each takes some ten thousand random samples of the cases. */
enum { DBI_COMPARE_ROWS = 4096 };

/* The scores that a table of results has. */
typedef enum dbi_result_score {
    DBI_RESULT_DICE,
    DBI_RESULT_JACCARD,
    DBI_RESULT_HD95,
    DBI_RESULT_ASD,
    DBI_RESULT_SCORES
} dbi_result_score;

/* "dice", ... */
extern const char *const dbi_result_score_names[DBI_RESULT_SCORES];

/* Tables of results: tab-separated, with a header line that names the columns method, variant ("-": none), labels,
 * seed, case, class, largest (0 or 1), dice, jaccard, hd95, asd, empty (as dbisl-metrics has it) and settings, in any
 * order, others being ignored. */
typedef struct dbi_results dbi_results;
dbi_results *dbi_results_new(dbi_error *error);
/* path: "-" is standard input. A row that is there already, with the same settings and scores, is dropped; with others
 * it is an error, which names file and line. */
int dbi_results_read(dbi_results *results, const char *path, dbi_error *error);
void dbi_results_free(dbi_results *results);

typedef struct dbi_compared_score {
    size_t missing;   /* values that are no number; they are left out */
    double mean;      /* over the cases, of each case's mean over the seeds */
    double low, high; /* its 95 % interval: dbi_score_summarize */
    double sd;        /* over the seeds, of each seed's mean over the cases; NaN for one seed */
    /* Against the baseline, over the cases and seeds that both have (over all seeds where they have none in common). */
    size_t pairs; /* cases; 0: nothing to compare with, or the baseline itself */
    size_t seeds; /* in common */
    double difference, difference_low, difference_high;
    double p; /* dbi_signed_rank over the cases */
} dbi_compared_score;

/* One method at one number of labels: a row of the table. Texts belong to the results. */
typedef struct dbi_compared {
    const char *method;         /* "dbisl" or, a variant, "dbisl+no-cross" */
    const char *labels, *class; /* class "mean": each case's mean over its classes, where there are several */
    bool largest;
    size_t seeds, cases;
    size_t empty; /* of seeds x cases: so many in which one of the labels, mostly the prediction, lacks the class */
    dbi_compared_score score[DBI_RESULT_SCORES];
} dbi_compared;

typedef struct dbi_compare_table {
    const char *baseline;
    dbi_compared *rows; /* block by block (labels, class, largest), in the order in which the results name them */
    size_t count;
} dbi_compare_table;

/* baseline: a method as above, or NULL. One that no result is of is an error. The comparison lives as long as the
 * results and baseline do. */
int dbi_compare(dbi_results *results, const char *baseline, uint64_t seed, dbi_compare_table *comparison,
                dbi_error *error);
void dbi_compare_table_free(dbi_compare_table *comparison);

#endif

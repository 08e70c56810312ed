/* Results of many trainings: what each method reaches, and how much it differs from a baseline. */
#ifndef DBI_SCORE_COMPARE_H
#define DBI_SCORE_COMPARE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* The most rows of a comparison; each takes some ten thousand random samples of the cases. */
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
 * seed, case, class, largest (0 or 1), dice, jaccard, hd95, asd, empty (as dbisl-metrics writes it) and settings, in
 * any order. Other columns are ignored. */
typedef struct dbi_results dbi_results;
dbi_results *dbi_results_new(dbi_error *error);
/* Reads a table. path: "-" is standard input. A row that was read before, with the same settings and scores, is
 * dropped; the same row with other settings or scores is an error. Errors name file and line. */
int dbi_results_read(dbi_results *results, const char *path, dbi_error *error);
void dbi_results_free(dbi_results *results);

typedef struct dbi_compared_score {
    size_t missing;   /* values that are not numbers; they are left out */
    double mean;      /* mean over the cases, of each case's mean over the seeds */
    double low, high; /* the mean's 95 % interval: dbi_score_summarize */
    double sd;        /* deviation over the seeds, of each seed's mean over the cases; NaN for one seed */
    /* Compared with the baseline, over the cases and seeds that both have (over all seeds when they have none in
     * common). */
    size_t pairs; /* number of cases; 0: no comparison, or the baseline itself */
    size_t seeds; /* number of seeds in common */
    double difference, difference_low, difference_high;
    double p; /* dbi_signed_rank over the cases */
} dbi_compared_score;

/* One method at one number of labels: a row of the table. Texts belong to the results. */
typedef struct dbi_compared {
    const char *method;         /* "dbisl" or, a variant, "dbisl+no-cross" */
    const char *labels, *class; /* class "mean": each case's mean over its classes, if there are several */
    bool largest;
    size_t seeds, cases;
    size_t empty; /* how many of seeds x cases have no voxel of the class in one of the labels, mostly the prediction */
    dbi_compared_score score[DBI_RESULT_SCORES];
} dbi_compared;

typedef struct dbi_compare_table {
    const char *baseline;
    dbi_compared *rows; /* block by block (labels, class, largest), in the order in which the results name them */
    size_t count;
} dbi_compare_table;

/* Compares the methods. baseline: a method as above, or NULL; one without results is an error. The comparison points
 * into the results and baseline, which must outlive it. */
int dbi_compare(dbi_results *results, const char *baseline, uint64_t seed, dbi_compare_table *comparison,
                dbi_error *error);
void dbi_compare_table_free(dbi_compare_table *comparison);

#endif

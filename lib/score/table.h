/* Scores of many cases, and their tables. */
#ifndef DBI_SCORE_TABLE_H
#define DBI_SCORE_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "record/sink.h"
#include "score/labels.h"
#include "score/metrics.h"

typedef struct dbi_table_settings {
    bool mm;          /* lengths in mm; otherwise in voxels */
    double tolerance; /* of surface_dice, in that unit */
    uint64_t seed;    /* of the bootstrap */
} dbi_table_settings;

typedef struct dbi_table_case {
    char *id;
    int64_t classes;
    dbi_scores *scores; /* of classes 1..K */
} dbi_table_case;

typedef struct dbi_table {
    dbi_table_settings settings;
    dbi_table_case *cases;
    size_t count;
    int64_t
        classes; /* K, the most of any case; a class that a case does not have scores as one that both labels lack */
} dbi_table;

/* Scores all classes of a pair that dbi_label_check has accepted. For mm at least one of the two needs an affine. */
int dbi_table_add(dbi_table *table, const dbi_label *prediction, const dbi_label *reference, dbi_error *error);
/* Frees what the table holds, not the table. */
void dbi_table_free(dbi_table *table);

/* Writes a line per case and class, tab-separated, after a header line. */
int dbi_table_write_cases(const dbi_table *table, dbi_sink *sink, dbi_error *error);
/* Writes a line per class and metric, after a header line: dbi_score_summary over the cases. Class "mean" (if K > 1) is
 * over each case's mean of its classes. */
int dbi_table_write_summary(const dbi_table *table, dbi_sink *sink, dbi_error *error);
/* Writes both as one JSON object. */
int dbi_table_write_json(const dbi_table *table, dbi_sink *sink, dbi_error *error);

#endif

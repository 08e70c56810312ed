/* A comparison of results as a table for people or programs. */
#ifndef DBI_SCORE_COMPARE_TABLE_H
#define DBI_SCORE_COMPARE_TABLE_H

#include "record/sink.h"
#include "score/compare.h"

typedef enum dbi_compare_format { DBI_COMPARE_TEXT, DBI_COMPARE_MARKDOWN, DBI_COMPARE_TSV } dbi_compare_format;

/* Writes the table. Text and Markdown: for each block the scores of the methods and, with a baseline, the differences
 * to it. TSV: a line for each row and score. */
int dbi_compare_table_write(const dbi_compare_table *comparison, dbi_compare_format format, dbi_sink *sink,
                            dbi_error *error);

#endif

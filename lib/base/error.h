/* Errors: the library reports them, the programs print them.
 *
 * A function that can fail takes a dbi_error as its last argument and returns 0 on success and -1 on failure (or NULL
 * where it returns a pointer), with one line of text, without a newline, in the error. Text is built from the inside
 * out: the innermost function says what is wrong ("no tensor \"label\""), callers put where in front of it
 * ("case7.st.zst: record 0: no tensor \"label\""). */
#ifndef DBI_BASE_ERROR_H
#define DBI_BASE_ERROR_H

#include <stdarg.h>

typedef struct dbi_error {
    char text[1024];
} dbi_error;

/* Sets the text (cut off when too long; control characters, which may come from hostile files, become '?'). Returns -1.
 * A NULL error is allowed. */
int dbi_fail(dbi_error *error, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Puts "PREFIX: " in front of the text that is there. Returns -1. */
int dbi_fail_in(dbi_error *error, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Sets "PREFIX: strerror(errno)". errno is read before anything can change it. Returns -1. */
int dbi_fail_errno(dbi_error *error, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Sets "\"TEXT\": choose A, B or C", for a TEXT that is none of the names. The list of names ends with NULL. Returns
 * -1. */
int dbi_fail_choose(dbi_error *error, const char *text, const char *const *names);

/* The formatted text, for functions that take a format as printf does. Free with free(); NULL with an error when memory
 * is out. */
char *dbi_format(dbi_error *error, const char *format, va_list args) __attribute__((format(printf, 2, 0)));

#endif

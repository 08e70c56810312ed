#include "base/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void make_printable(char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text < 0x20 || *text == 0x7f)
            *text = '?';
}

int dbi_fail(dbi_error *error, const char *format, ...)
{
    if (!error)
        return -1;
    char text[sizeof error->text]; /* an argument may point into the error itself */
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    make_printable(text);
    memcpy(error->text, text, sizeof text);
    return -1;
}

static int put_in_front(dbi_error *error, const char *prefix)
{
    char text[2 * sizeof error->text + 2];
    snprintf(text, sizeof text, "%s: %s", prefix, error->text);
    return dbi_fail(error, "%s", text);
}

int dbi_fail_in(dbi_error *error, const char *format, ...)
{
    if (!error)
        return -1;
    char prefix[sizeof error->text];
    va_list args;
    va_start(args, format);
    vsnprintf(prefix, sizeof prefix, format, args);
    va_end(args);
    return put_in_front(error, prefix);
}

int dbi_fail_errno(dbi_error *error, const char *format, ...)
{
    int number = errno;
    if (!error)
        return -1;
    char prefix[sizeof error->text];
    va_list args;
    va_start(args, format);
    vsnprintf(prefix, sizeof prefix, format, args);
    va_end(args);
    dbi_fail(error, "%s", strerror(number));
    return put_in_front(error, prefix);
}

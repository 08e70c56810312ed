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

/* "PREFIX: TEXT"; the text may be the error's own. */
static void put_in_front(dbi_error *error, const char *text, const char *format, va_list args)
{
    char prefix[sizeof error->text];
    vsnprintf(prefix, sizeof prefix, format, args);
    dbi_fail(error, "%s: %s", prefix, text);
}

int dbi_fail_in(dbi_error *error, const char *format, ...)
{
    if (!error)
        return -1;
    va_list args;
    va_start(args, format);
    put_in_front(error, error->text, format, args);
    va_end(args);
    return -1;
}

int dbi_fail_errno(dbi_error *error, const char *format, ...)
{
    const char *reason = strerror(errno);
    if (!error)
        return -1;
    va_list args;
    va_start(args, format);
    put_in_front(error, reason, format, args);
    va_end(args);
    return -1;
}

int dbi_fail_choose(dbi_error *error, const char *text, const char *const *names)
{
    char list[512] = "";
    size_t length = 0;
    for (size_t i = 0; names[i] && length < sizeof list; i++)
        length += (size_t)snprintf(list + length, sizeof list - length, "%s%s",
                                   i == 0         ? ""
                                   : names[i + 1] ? ", "
                                                  : " or ",
                                   names[i]);
    return dbi_fail(error, "\"%s\": choose %s", text, list);
}

char *dbi_format(dbi_error *error, const char *format, va_list args)
{
    char *text;
    if (vasprintf(&text, format, args) >= 0)
        return text;
    dbi_fail(error, "out of memory");
    return NULL;
}

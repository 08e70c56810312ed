#include "image/case_id.h"

#include <stdlib.h>
#include <string.h>

#include "image/formats.h"
#include "record/bytes.h"

/* The case's name in `path`, which is changed. */
static const char *name_of(char *path)
{
    char *name = strrchr(path, '/');
    name = name ? name + 1 : path;
    dbi_format_strip(name);
    if (strcmp(name, "mri_norm2") || name == path)
        return name;
    name[-1] = 0;
    char *folder = strrchr(path, '/');
    folder = folder ? folder + 1 : path;
    return *folder ? folder : name;
}

char *dbi_case_id(const char *path, dbi_error *error)
{
    const char *member = dbi_bytes_member(path);
    char *whole = strdup(member ? member : path);
    const char *name = whole ? name_of(whole) : "";
    char *id = whole ? strdup(strcmp(name, "-") ? name : "stdin") : NULL;
    free(whole);
    if (!id) {
        dbi_fail(error, "out of memory");
        return NULL;
    }
    for (char *c = id; *c; c++) /* ids are written into tables, which control characters would break */
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            *c = '_';
    return id;
}

#include "distance/normalize.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "distance/number.h"

int dbi_normalize_parse(const char *text, dbi_normalize *normalize, dbi_error *error)
{
    *normalize = (dbi_normalize){.kind = DBI_NORMALIZE_NONE};
    if (!strcmp(text, "none"))
        return 0;
    if (!strcmp(text, "max")) {
        normalize->kind = DBI_NORMALIZE_MAX;
        return 0;
    }
    if (!strncmp(text, "clip:", 5)) {
        char *end;
        double t = strtod(text + 5, &end);
        if (end != text + 5 && !*end && t > 0 && t <= 1e6) {
            *normalize = (dbi_normalize){.kind = DBI_NORMALIZE_CLIP, .t = t};
            return 0;
        }
    }
    return dbi_fail(error, "\"%s\": choose none, max or clip:T (T above 0, at most 1e6)", text);
}

void dbi_normalize_format(const dbi_normalize *normalize, char text[64])
{
    char number[32];
    switch (normalize->kind) {
    case DBI_NORMALIZE_NONE:
        snprintf(text, 64, "none");
        break;
    case DBI_NORMALIZE_CLIP:
        snprintf(text, 64, "clip:%s", dbi_shortest(normalize->t, number));
        break;
    case DBI_NORMALIZE_MAX:
        snprintf(text, 64, "max");
        break;
    }
}

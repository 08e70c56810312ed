#include "distance/transform.real.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "distance/number.h"

enum { LONGEST_RADIUS = 1000 };

/* "H,RADIUS" or "H,all". */
static int parse_conv(const char *text, dbi_transform *transform)
{
    char *end;
    double h = strtod(text, &end);
    if (end == text || *end != ',' || !(h >= 0.01) || !(h <= 100))
        return -1;
    *transform = (dbi_transform){.kind = DBI_TRANSFORM_CONV, .h = h};
    text = end + 1;
    if (!strcmp(text, "all"))
        return 0;
    long radius = strtol(text, &end, 10);
    if (end == text || *end || radius < 1 || radius > LONGEST_RADIUS)
        return -1;
    transform->radius = (int)radius;
    return 0;
}

int dbi_transform_parse(const char *text, dbi_transform *transform, dbi_error *error)
{
    *transform = (dbi_transform){.kind = DBI_TRANSFORM_EXACT};
    if (!strcmp(text, "exact"))
        return 0;
    if (!strcmp(text, "levelset")) {
        transform->kind = DBI_TRANSFORM_LEVELSET;
        return 0;
    }
    if (!strncmp(text, "conv:", 5) && !parse_conv(text + 5, transform))
        return 0;
    return dbi_fail(error,
                    "\"%s\": choose exact, levelset or conv:H,RADIUS (H from 0.01 to 100, RADIUS from 1 to %d, or all)",
                    text, LONGEST_RADIUS);
}

void dbi_transform_format(const dbi_transform *transform, char text[64])
{
    char number[32];
    switch (transform->kind) {
    case DBI_TRANSFORM_EXACT:
        snprintf(text, 64, "exact");
        break;
    case DBI_TRANSFORM_LEVELSET:
        snprintf(text, 64, "levelset");
        break;
    case DBI_TRANSFORM_CONV:
        if (transform->radius)
            snprintf(text, 64, "conv:%s,%d", dbi_shortest(transform->h, number), transform->radius);
        else
            snprintf(text, 64, "conv:%s,all", dbi_shortest(transform->h, number));
        break;
    }
}

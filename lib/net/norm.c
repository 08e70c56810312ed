#include "net/norm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char group[] = "group:";
static const char *const names[] = {
    [DBI_NORM_BATCH] = "batch", [DBI_NORM_INSTANCE] = "instance", [DBI_NORM_INSTANCE_AFFINE] = "instance:affine"};

int dbi_norm_parse(const char *text, dbi_normalization *norm, dbi_error *error)
{
    const char *number = text + strlen(group);
    char *end;
    for (int kind = 0; kind < DBI_NORM_GROUP; kind++)
        if (!strcmp(text, names[kind])) {
            *norm = (dbi_normalization){.kind = (dbi_norm_kind)kind};
            return 0;
        }
    if (!strncmp(text, group, strlen(group)) && *number >= '1' && *number <= '9' && strlen(number) < 6) {
        const long groups = strtol(number, &end, 10);
        if (!*end) {
            *norm = (dbi_normalization){.kind = DBI_NORM_GROUP, .groups = (int)groups};
            return 0;
        }
    }
    return dbi_fail(error, "\"%s\": choose batch, instance, instance:affine or group:N", text);
}

void dbi_norm_text(const dbi_normalization *norm, char text[DBI_NORM_TEXT])
{
    if (norm->kind == DBI_NORM_GROUP)
        snprintf(text, DBI_NORM_TEXT, "%s%d", group, norm->groups);
    else
        snprintf(text, DBI_NORM_TEXT, "%s", names[norm->kind]);
}

bool dbi_norm_equal(const dbi_normalization *a, const dbi_normalization *b)
{
    return a->kind == b->kind && (a->kind != DBI_NORM_GROUP || a->groups == b->groups);
}

int dbi_norm_check(const dbi_normalization *norm, int filters, dbi_error *error)
{
    if (norm->kind == DBI_NORM_GROUP && (norm->groups < 1 || filters % norm->groups))
        return dbi_fail(error, "%d groups of channels: the first block's %d filters cannot be divided so", norm->groups,
                        filters);
    return 0;
}

int dbi_norm_groups(const dbi_normalization *norm, int channels)
{
    if (norm->kind == DBI_NORM_BATCH)
        return 0;
    return norm->kind == DBI_NORM_GROUP ? norm->groups : channels;
}

#include "net/head.h"

#include <string.h>

static const char *const head_names[] = {[DBI_HEAD_SEG] = "seg", [DBI_HEAD_SDF] = "sdf", [DBI_HEAD_BOTH] = "both"};

int dbi_head_parse(const char *text, dbi_head *head, dbi_error *error)
{
    for (int i = 0; i < 3; i++)
        if (!strcmp(text, head_names[i])) {
            *head = (dbi_head)i;
            return 0;
        }
    return dbi_fail(error, "\"%s\": choose seg, sdf or both", text);
}

const char *dbi_head_name(dbi_head head)
{
    return head_names[head];
}

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

static const char *const decoder_names[] = {
    [DBI_DECODER_MEAN] = "mean", [DBI_DECODER_EACH] = "each", [DBI_DECODER_FIRST] = "1", [DBI_DECODER_FIRST + 1] = "2"};

int dbi_decoder_parse(const char *text, dbi_decoder_choice *choice, dbi_error *error)
{
    for (size_t i = 0; i < sizeof decoder_names / sizeof *decoder_names; i++)
        if (!strcmp(text, decoder_names[i])) {
            *choice = (dbi_decoder_choice)i;
            return 0;
        }
    return dbi_fail(error, "\"%s\": choose mean, each, 1 or 2", text);
}

const char *dbi_decoder_name(dbi_decoder_choice choice)
{
    return decoder_names[choice];
}

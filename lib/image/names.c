#include "image/names.h"

#include <string.h>

bool dbi_name_ends(const char *name, const char *end)
{
    size_t length = strlen(name), tail = strlen(end);
    return length >= tail && !strcasecmp(name + length - tail, end);
}

bool dbi_name_strip(char *name, const char *end)
{
    size_t length = strlen(name), tail = strlen(end);
    if (length <= tail || !dbi_name_ends(name, end))
        return false;
    name[length - tail] = 0;
    return true;
}

/* Numbers in settings. */
#ifndef DBI_DISTANCE_NUMBER_H
#define DBI_DISTANCE_NUMBER_H

#include <stdio.h>
#include <stdlib.h>

/* The shortest decimal text that is read back as the same number. */
static inline const char *dbi_shortest(double value, char text[32])
{
    for (int digits = 6; digits <= 17; digits++) {
        snprintf(text, 32, "%.*g", digits, value);
        if (strtod(text, NULL) == value)
            break;
    }
    return text;
}

#endif

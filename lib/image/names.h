/* Endings of file names. Upper and lower case are equal. */
#ifndef DBI_IMAGE_NAMES_H
#define DBI_IMAGE_NAMES_H

#include <stdbool.h>

bool dbi_name_ends(const char *name, const char *end);
/* Cuts the ending off when the name has it and something before it. Returns whether it did. */
bool dbi_name_strip(char *name, const char *end);

#endif

/* The ends of files' names, whatever their case. */
#ifndef DBI_IMAGE_NAMES_H
#define DBI_IMAGE_NAMES_H

#include <stdbool.h>

bool dbi_name_ends(const char *name, const char *end);
/* Cuts the end off where the name has it and something before it; says whether. */
bool dbi_name_strip(char *name, const char *end);

#endif

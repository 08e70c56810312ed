#ifndef DBI_BASE_VERSION_H
#define DBI_BASE_VERSION_H
#define DBI_VERSION "0.1.0"
#endif

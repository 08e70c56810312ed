/* What the unit tests of the CUDA device use of the emulation, where they are linked with the device itself. */
#include "emulated.h"

#include <stdio.h>

/* So that of a program that is ended by a time limit, as under compute-sanitizer, it is seen how far it came. */
__attribute__((constructor)) static void print_lines(void)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
}

bool dbi_emulated_backwards, dbi_emulated_rounding;
size_t dbi_emulated_memory, dbi_emulated_held, dbi_emulated_most, dbi_emulated_limit;
uint32_t dbi_emulated_disorder;

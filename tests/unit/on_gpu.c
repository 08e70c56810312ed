/* What the unit tests of the CUDA device use of the emulation, where they are linked with the device itself. */
#include "emulated.h"

bool dbi_emulated_backwards, dbi_emulated_rounding;
size_t dbi_emulated_memory, dbi_emulated_held, dbi_emulated_most, dbi_emulated_limit;

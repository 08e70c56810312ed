/* The CUDA device on the host, see device.c, streams.c, warps.h and lib/cuda/cuda.h: linked before the library, so that
 * a net or a trainer opened on "cuda" is this one. */
#ifndef EMULATED_H
#define EMULATED_H

#include <stdint.h>
#include <stdlib.h>

#include "cuda/direct.h"

/* With DBI_ON_DEVICE the tests are linked with the device itself, for `make check-gpu`: on_gpu() is true, and what only
 * the emulation can show is left out. */
static inline int on_gpu(void)
{
#ifdef DBI_ON_DEVICE
    return 1;
#else
    return 0;
#endif
}

/* Under compute-sanitizer, see scripts/check-gpu: every kernel once is enough, and the rest of a test's cases would
 * take minutes. */
static inline int sanitized(void)
{
    const char *tool = getenv("SANITIZER");
    return on_gpu() && tool && *tool;
}

/* Bytes of the last arena that was opened, of all that are open, the most that ever were, and what the device has (at
 * first as good as endless). */
extern size_t dbi_emulated_memory, dbi_emulated_held, dbi_emulated_most, dbi_emulated_limit;

/* Streams: 0, they do at once what they are given; an odd number (1 at first), as late as what is waited for allows; an
 * even one, at random moments before. The number gives the order of streams, which only events restrict. A result that
 * depends on it is a missing event, or memory of the host that was used too early. Copies from memory of the host that
 * is not pinned are made at once, as CUDA has it. */
extern uint32_t dbi_emulated_disorder;
/* Does what streams have been given. */
void dbi_emulated_finish(void);

/* dbi_direct(), computed otherwise. */
int dbi_emulated_conv(dbi_conv_pass pass, bool bf16, const dbi_conv_sides *sides, void *x, void *weight, void *y,
                      dbi_error *error);

#endif

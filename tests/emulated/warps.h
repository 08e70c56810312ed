/* Kernels that threads of a warp do together (tiled.cu, spread.cu), on the host: each thread is a coroutine, which runs
 * until it has to wait for others.
 *
 * What the instructions demand is checked, and what they leave open is made to show. All threads of a warp have to come
 * to the same one; addresses have to be aligned and within the block's shared memory, which is garbage at first; a
 * place that an asynchronous copy is to fill is garbage until the copy is waited for; and a warp runs as far as it can
 * before the next one does, from the first warp on or, where dbi_emulated_backwards, from the last one, so that a
 * missing barrier changes the result. What is wrong ends the program with a line that says so. */
#ifndef WARPS_H
#define WARPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { DBI_WARP = 32 };

typedef struct dbi_index {
    unsigned x, y, z;
} dbi_index;

/* Of the coroutine that runs: threadIdx, blockIdx, blockDim, gridDim. */
extern dbi_index dbi_thread_index, dbi_block_index, dbi_block_extent, dbi_grid_extent;

/* What the device has: bytes of shared memory that a block can get, multiprocessors, and blocks that one of them runs
 * at once. */
extern size_t dbi_emulated_shared;
extern int dbi_emulated_processors, dbi_emulated_resident;

/* Loads of matrices so far, and those of them that met a bank of shared memory twice. */
extern int64_t dbi_emulated_loads, dbi_emulated_conflicts;

/* All blocks, one after another. kernel: takes a reference to its arguments. */
void dbi_warps_launch(void (*kernel)(const void *arguments), const void *arguments, unsigned blocks, unsigned threads,
                      size_t shared);

/* ---- For threads ---- */

/* The block's shared memory. */
unsigned char *dbi_shared_memory(void);

/* Waits for all threads of the block. */
void dbi_block_barrier(void);

/* Waits until all threads of the warp are here with the same operation, which is then done once for all of them:
 * slot[l] is lane l's. */
typedef void (*dbi_warp_operation)(void *const slot[DBI_WARP]);
void dbi_warp_meet(dbi_warp_operation operation, void *slot);

/* An asynchronous copy of 16 bytes to `to`, an address in shared memory; from NULL: zeros. */
void dbi_copy_start(uint32_t to, const void *from);
void dbi_copy_commit(void);
/* Waits for all groups but the last `left`. */
void dbi_copy_wait(int left);

/* An address in shared memory, as the instructions take it, and back; ends the program unless `bytes`, aligned to them,
 * are there. */
uint32_t dbi_shared_address(const void *p);
void *dbi_shared_at(uint32_t address, size_t bytes);

/* ---- Instructions on matrices; see "PTX ISA", Warp Level Matrix Instructions, for which lane holds what ---- */

/* ldmatrix: 1, 2 or 4 matrices of 8 rows of 16 bytes. */
void dbi_load_matrices(int count, bool transposed, uint32_t *r, uint32_t address);
/* mma of 16 rows, depth 16 or 8, 8 columns: bfloat16, sums in single precision. */
void dbi_multiply(int depth, float c[4], const uint32_t *a, const uint32_t *b);
float dbi_shuffle_xor(float value, int mask);

#ifdef __cplusplus
}
#endif

#endif

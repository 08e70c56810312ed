/* The machine's own speed: loops of multiply-adds in registers, and of reading and writing memory. */
#ifndef BENCH_REFERENCE_H
#define BENCH_REFERENCE_H

#include <dnnl.h>
#include <omp.h>

#include "bench.h"

/* The vectors that oneDNN uses here, and our kernels with it: floats in one. ONEDNN_MAX_CPU_ISA=AVX2 limits both. */
static inline int vector_floats(void)
{
    const int isa = (int)dnnl_get_effective_cpu_isa();
    return (isa & dnnl_cpu_isa_avx512_core) == dnnl_cpu_isa_avx512_core ? 16
           : (isa & dnnl_cpu_isa_avx2) == dnnl_cpu_isa_avx2             ? 8
                                                                        : 4;
}

static inline const char *vector_name(void)
{
    const int n = vector_floats();
    return n == 16 ? "AVX-512" : n == 8 ? "AVX2" : "SSE4";
}

/* Keeps the compiler from leaving out what makes the value. */
static inline void use(float value)
{
    __asm__ volatile("" : : "g"(value) : "memory");
}

/* 12 independent chains: more than latency times throughput of any FMA unit, and they fit 16 registers. */
enum { FMA_CHAINS = 12 };

#define FMA_LOOP(name, bytes, attributes)                                                                              \
    attributes __attribute__((noinline)) static float name(long rounds)                                                \
    {                                                                                                                  \
        typedef float vector __attribute__((vector_size(bytes)));                                                      \
        const vector zero = {0};                                                                                       \
        volatile float one = 1.0f, tiny = 1e-9f;                                                                       \
        const vector m = zero + one, a = zero + tiny;                                                                  \
        /* Different starts: equal chains would be made one. */                                                        \
        vector c0 = a, c1 = zero + 1, c2 = zero + 2, c3 = zero + 3, c4 = zero + 4, c5 = zero + 5;                      \
        vector c6 = zero + 6, c7 = zero + 7, c8 = zero + 8, c9 = zero + 9, c10 = zero + 10, c11 = zero + 11;           \
        for (long i = 0; i < rounds; i++) {                                                                            \
            c0 = c0 * m + a, c1 = c1 * m + a, c2 = c2 * m + a, c3 = c3 * m + a, c4 = c4 * m + a, c5 = c5 * m + a;      \
            c6 = c6 * m + a, c7 = c7 * m + a, c8 = c8 * m + a, c9 = c9 * m + a, c10 = c10 * m + a, c11 = c11 * m + a;  \
        }                                                                                                              \
        c0 += c1 + c2 + c3 + c4 + c5 + c6 + c7 + c8 + c9 + c10 + c11;                                                  \
        return c0[0];                                                                                                  \
    }

FMA_LOOP(fma_plain, 16, )
#ifdef __x86_64__
FMA_LOOP(fma_avx2, 32, __attribute__((target("avx2,fma"))))
FMA_LOOP(fma_avx512, 64, __attribute__((target("avx512f"))))
#endif

/* floats: in a vector; which must be there. Operations: 2 floats FMA_CHAINS rounds. */
static inline float fma_loop(int floats, long rounds)
{
#ifdef __x86_64__
    if (floats == 16)
        return fma_avx512(rounds);
    if (floats == 8)
        return fma_avx2(rounds);
#endif
    (void)floats;
    return fma_plain(rounds);
}

enum { FMA_ROUNDS = 2000000 };

/* GFLOP/s of so many threads: the sum of what each reaches while the others run. It does not wait for them, so that a
 * disturbed one costs its own share alone. */
static inline double fma_rate(int floats, int threads, double seconds)
{
    double sum = 0;
#pragma omp parallel num_threads(threads) reduction(+ : sum)
    {
        double best = 0;
        const double until = wall_clock() + seconds;
        do {
            const double start = wall_clock();
            use(fma_loop(floats, FMA_ROUNDS));
            best = fmax(best, 2.0 * floats * FMA_CHAINS * (double)FMA_ROUNDS / (wall_clock() - start) / 1e9);
        } while (wall_clock() < until);
        sum += best;
    }
    return sum;
}

enum { TRIAD_COUNT = 16 << 20 };

/* GB/s of a = b + s c, as STREAM counts it: 12 bytes an element (a write that first reads the line moves 16). */
static inline double memory_rate(int threads, double seconds)
{
    float *a = need_memory(sizeof(float) * TRIAD_COUNT), *b = need_memory(sizeof(float) * TRIAD_COUNT),
          *c = need_memory(sizeof(float) * TRIAD_COUNT);
    double best = 0;
    const double until = wall_clock() + seconds;
    do {
        const double start = wall_clock();
#pragma omp parallel for simd schedule(static) num_threads(threads)
        for (size_t i = 0; i < TRIAD_COUNT; i++)
            a[i] = b[i] + 3 * c[i];
        best = fmax(best, 12.0 * TRIAD_COUNT / (wall_clock() - start) / 1e9);
    } while (wall_clock() < until);
    free(a);
    free(b);
    free(c);
    return best;
}

#endif

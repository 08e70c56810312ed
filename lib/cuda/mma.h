/* What kernels on tensor cores share: words of two values, and what is done with the values that come out: moments,
 * normalization. */
#ifndef DBI_CUDA_MMA_H
#define DBI_CUDA_MMA_H

#include "cuda/common.h"
#include "cuda/conv.h"
#include "cuda/ptx.h"

static __device__ __forceinline__ float low_of(uint32_t packed)
{
    return __uint_as_float(packed << 16);
}

static __device__ __forceinline__ float high_of(uint32_t packed)
{
    return __uint_as_float(packed & 0xffff0000u);
}

/* COUNT words to or from global memory at once. */
template <int COUNT> static __device__ __forceinline__ void store_words(void *to, const uint32_t *word)
{
    if (COUNT == 8) {
        store_words<4>(to, word);
        store_words<4>((uint4 *)to + 1, word + 4);
    } else if (COUNT == 4)
        *(uint4 *)to = make_uint4(word[0], word[1], word[2], word[3]);
    else if (COUNT == 2)
        *(uint2 *)to = make_uint2(word[0], word[1]);
    else
        *(uint32_t *)to = word[0];
}

template <int COUNT> static __device__ __forceinline__ void load_words(const void *from, uint32_t *word)
{
    if (COUNT == 8) {
        load_words<4>(from, word);
        load_words<4>((const uint4 *)from + 1, word + 4);
    } else if (COUNT == 4) {
        const uint4 w = *(const uint4 *)from;
        word[0] = w.x, word[1] = w.y, word[2] = w.z, word[3] = w.w;
    } else if (COUNT == 2) {
        const uint2 w = *(const uint2 *)from;
        word[0] = w.x, word[1] = w.y;
    } else {
        word[0] = *(const uint32_t *)from;
    }
}

/* What a lane has seen of a channel. */
typedef struct seen {
    float count, mean, squares; /* squares: of the differences from the mean */
} seen;

/* Chan's way to join variances. */
static __device__ __forceinline__ seen join(seen a, seen b)
{
    const float n = a.count + b.count, away = b.mean - a.mean, share = n > 0 ? b.count / n : 0;
    seen s;
    s.count = n;
    s.mean = a.mean + away * share;
    s.squares = a.squares + b.squares + away * away * a.count * share;
    return s;
}

/* The moments of the OWN neighbouring channels that a lane has of each of its voxels. */
template <int OWN> struct lane_moments {
    float count, shift[OWN], sum[OWN], squares[OWN];
};

template <int OWN> static __device__ __forceinline__ void moments_start(lane_moments<OWN> *m)
{
    m->count = 0;
#pragma unroll
    for (int i = 0; i < OWN; i++)
        m->shift[i] = m->sum[i] = m->squares[i] = 0;
}

/* One more voxel, as it is stored. */
template <int OWN>
static __device__ __forceinline__ void moments_take(lane_moments<OWN> *m, const uint32_t word[OWN / 2])
{
#pragma unroll
    for (int i = 0; i < OWN; i++) {
        const float v = i % 2 ? high_of(word[i / 2]) : low_of(word[i / 2]);
        if (m->count == 0)
            m->shift[i] = v;
        m->sum[i] += v - m->shift[i];
        m->squares[i] += (v - m->shift[i]) * (v - m->shift[i]);
    }
    m->count += 1;
}

/* Joins those of the lanes that differ in the bits from FIRST on, and puts the warp's into row [channels]; the lanes
 * below FIRST have it. */
template <int OWN, int FIRST>
static __device__ __forceinline__ void moments_join(const lane_moments<OWN> *m, int channel, seen *row)
{
    const int lane = (int)threadIdx.x & 31;
#pragma unroll
    for (int i = 0; i < OWN; i++) {
        const float n = m->count > 0 ? m->count : 1;
        seen s;
        s.count = m->count;
        s.mean = m->shift[i] + m->sum[i] / n;
        s.squares = m->squares[i] - m->sum[i] * (m->sum[i] / n);
#pragma unroll
        for (int distance = FIRST; distance < 32; distance *= 2) {
            seen other;
            other.count = __shfl_xor_sync(~0u, s.count, distance);
            other.mean = __shfl_xor_sync(~0u, s.mean, distance);
            other.squares = __shfl_xor_sync(~0u, s.squares, distance);
            s = lane & distance ? join(other, s) : join(s, other);
        }
        if (lane < FIRST)
            row[channel + i] = s;
    }
}

/* The block's moments from its warps' rows [rows,channels], after a barrier. */
static __device__ __forceinline__ void moments_put(const dbi_conv_moments *m, const seen *row, int rows, int channels)
{
    for (int c = (int)threadIdx.x; c < channels; c += (int)blockDim.x) {
        seen s = row[c];
        for (int r = 1; r < rows; r++)
            s = join(s, row[r * channels + c]);
        const int64_t at = (int64_t)blockIdx.x * channels + c;
        m->shift[at] = s.mean;
        m->sum[at] = 0;
        m->squares[at] = s.squares > 0 ? s.squares : 0;
        if (c == 0)
            m->count[blockIdx.x] = s.count;
    }
}

/* The normalization of a lane's channels. */
template <int OWN> struct lane_norm {
    float mean[OWN], scale[OWN], shift[OWN];
};

template <int OWN>
static __device__ __forceinline__ void norm_load(lane_norm<OWN> *n, const dbi_conv_norm *norm, int channel)
{
#pragma unroll
    for (int i = 0; i < OWN; i++) {
        n->mean[i] = norm->mean[channel + i];
        n->scale[i] = norm->scale[channel + i];
        n->shift[i] = norm->shift[channel + i];
    }
}

/* As the separate pass has it: what it reads is rounded. skip: or NULL. */
template <int OWN>
static __device__ __forceinline__ void norm_apply(const lane_norm<OWN> *n, const dbi_bf16 *skip, float value[OWN])
{
    uint32_t word[OWN / 2];
    if (skip)
        load_words<OWN / 2>(skip, word);
#pragma unroll
    for (int i = 0; i < OWN; i++) {
        const float on = n->scale[i] * (low_of(pack_two(value[i], 0)) - n->mean[i]) + n->shift[i];
        value[i] = (on > 0 ? on : 0) + (skip ? (i % 2 ? high_of(word[i / 2]) : low_of(word[i / 2])) : 0);
    }
}

/* Blocks of any of these kernels (NULL: none) that a multiprocessor holds at once, at least; < 1: none, or an error. */
static inline int dbi_least_occupancy(const void *const *kernel, int count, int threads, size_t shared)
{
    int least = INT32_MAX, blocks = 0;
    for (int k = 0; k < count; k++)
        if (kernel[k]) {
            if (cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, kernel[k], threads, shared) != cudaSuccess)
                return 0;
            least = blocks < least ? blocks : least;
        }
    return least;
}

#endif

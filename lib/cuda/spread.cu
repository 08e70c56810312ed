#include "cuda/spread.h"

#include <cuda_runtime.h>

#include "cuda/mma.h"

typedef struct spread_arguments {
    int size[3];    /* of y */
    int64_t voxels; /* voxels of y in the whole batch */
    const dbi_bf16 *y, *weight;
    dbi_bf16 *x;
    dbi_conv_moments moments; /* count NULL: none */
    dbi_conv_norm norm;       /* scale NULL: none */
} spread_arguments;

enum { PLAIN, MOMENTS, NORMALIZED, KINDS };

/* The rows of a matrix product are 16 voxels of y, wherever they lie. A voxel of y becomes 2x2x2 voxels of x; there is
 * a warp for each of the four places along x and y, and the columns of the product are the channels of the two
 * neighbours along z. Factors are loaded straight from global memory. The order of channels within a product's depth
 * and of columns is chosen so that a lane loads and stores neighbouring values. */
template <int FROM, int TO> struct shape {
    enum {
        THREADS = 128,
        ROWS = 16,
        LOADED = FROM < 32 ? FROM / 4 : 8, /* channels of y that a lane loads at once */
        LOADS = FROM / 4 / LOADED,
        STEPS = FROM / 16,
        COLUMNS = 2 * TO / 8,
        OWN = TO / 2 /* channels of x that a lane has of a voxel */
    };
};

/* Loads the two rows of a lane, which are 8 apart: two voxels of y. */
template <int FROM, int TO>
static __device__ __forceinline__ void load_rows(const spread_arguments *a, int64_t group, int lane,
                                                 uint32_t word[2][FROM / 8])
{
    typedef shape<FROM, TO> S;
#pragma unroll
    for (int half = 0; half < 2; half++) {
        const int64_t voxel = group * S::ROWS + (lane >> 2) + 8 * half;
#pragma unroll
        for (int i = 0; i < S::LOADS; i++) {
            uint32_t *const to = word[half] + i * (S::LOADED / 2);
            if (voxel < a->voxels)
                load_words<S::LOADED / 2>(a->y + voxel * FROM + i * 32 + (lane & 3) * S::LOADED, to);
            else
#pragma unroll
                for (int j = 0; j < S::LOADED / 2; j++)
                    to[j] = 0;
        }
    }
}

template <int FROM, int TO, int KIND>
static __global__ void __launch_bounds__(shape<FROM, TO>::THREADS)
    spread_kernel(const spread_arguments __grid_constant__ a)
{
    typedef shape<FROM, TO> S;
    __shared__ seen all[4 * TO];
    const int lane = (int)threadIdx.x & 31, place = (int)threadIdx.x >> 5, channel = (lane & 1) * S::OWN,
              neighbour = lane >> 1 & 1;
    const int64_t groups = (a.voxels + S::ROWS - 1) / S::ROWS, first = groups * blockIdx.x / gridDim.x,
                  last = groups * (blockIdx.x + 1) / gridDim.x;
    /* b: step s takes words 2s and 2s + 1 of a lane's row; column 8c + q is the lane q / 2's value 2c + q % 2. */
    uint32_t b[S::STEPS][S::COLUMNS][2], next[2][FROM / 8];
    lane_moments<S::OWN> moments;
    lane_norm<S::OWN> norm;
    moments_start(&moments);
    if (KIND == NORMALIZED)
        norm_load(&norm, &a.norm, channel);
#pragma unroll
    for (int s = 0; s < S::STEPS; s++)
#pragma unroll
        for (int c = 0; c < S::COLUMNS; c++)
#pragma unroll
            for (int i = 0; i < 2; i++) {
                const int q = lane >> 2, value = q / 2 * S::OWN + 2 * c + q % 2, tap = place * 2 + value / TO,
                          to = value % TO;
                const int at = (2 * s + i) * 2, from = at / S::LOADED * 32 + (lane & 3) * S::LOADED + at % S::LOADED;
                const dbi_bf16 low = a.weight[(from * 8 + tap) * TO + to],
                               high = a.weight[((from + 1) * 8 + tap) * TO + to];
                b[s][c][i] = (uint32_t)low.bits | (uint32_t)high.bits << 16;
            }
    load_rows<FROM, TO>(&a, first, lane, next);
    for (int64_t group = first; group < last; group++) {
        uint32_t word[2][FROM / 8];
        float sum[S::COLUMNS][4];
#pragma unroll
        for (int i = 0; i < FROM / 8; i++) {
            word[0][i] = next[0][i];
            word[1][i] = next[1][i];
        }
        if (group + 1 < last)
            load_rows<FROM, TO>(&a, group + 1, lane, next);
#pragma unroll
        for (int c = 0; c < S::COLUMNS; c++) {
#pragma unroll
            for (int i = 0; i < 4; i++)
                sum[c][i] = 0;
#pragma unroll
            for (int s = 0; s < S::STEPS; s++) {
                const uint32_t factor[4] = {word[0][2 * s], word[1][2 * s], word[0][2 * s + 1], word[1][2 * s + 1]};
                multiply<16>(sum[c], factor, b[s][c]);
            }
        }
#pragma unroll
        for (int half = 0; half < 2; half++) {
            const int64_t voxel = group * S::ROWS + (lane >> 2) + 8 * half;
            if (voxel >= a.voxels)
                break;
            const int v = (int)voxel, z = v % a.size[2], yz = v / a.size[2], y = yz % a.size[1],
                      xyz = yz / a.size[1]; /* xyz: with the sample in front */
            const int64_t at =
                (((int64_t)(2 * xyz + place / 2)) * (2 * a.size[1]) + 2 * y + place % 2) * (2 * a.size[2]) + 2 * z +
                neighbour;
            float value[S::OWN];
            uint32_t out[S::OWN / 2];
#pragma unroll
            for (int c = 0; c < S::COLUMNS; c++) {
                value[2 * c] = sum[c][2 * half];
                value[2 * c + 1] = sum[c][2 * half + 1];
            }
            if (KIND == NORMALIZED)
                norm_apply(&norm, a.norm.skip ? (const dbi_bf16 *)a.norm.skip + at * TO + channel : NULL, value);
#pragma unroll
            for (int i = 0; i < S::OWN / 2; i++)
                out[i] = pack_two(value[2 * i], value[2 * i + 1]);
            if (KIND == MOMENTS)
                moments_take(&moments, out);
            store_words<S::OWN / 2>(a.x + at * TO + channel, out);
        }
    }
    if (KIND != MOMENTS)
        return;
    moments_join<S::OWN, 2>(&moments, channel, all + place * TO);
    __syncthreads();
    moments_put(&a.moments, all, 4, TO);
}

typedef struct dbi_spread_variant {
    int from, to;
    const void *kernel[KINDS];
} dbi_spread_variant;

#define SPREAD(FROM, TO)                                                                                               \
    {                                                                                                                  \
        FROM, TO,                                                                                                      \
        {                                                                                                              \
            (const void *)spread_kernel<FROM, TO, PLAIN>, (const void *)spread_kernel<FROM, TO, MOMENTS>,              \
                (const void *)spread_kernel<FROM, TO, NORMALIZED>                                                      \
        }                                                                                                              \
    }

static const dbi_spread_variant variants[] = {SPREAD(16, 8), SPREAD(32, 16), SPREAD(64, 32)};

bool dbi_spread_make(dbi_spread_plan *plan, const dbi_conv_sides *s)
{
    int device = 0, processors = 0, occupancy = 0;
    const int64_t size[] = {s->batch, s->y_size[0], s->y_size[1], s->y_size[2]};
    int64_t voxels = 1;
    if (s->edge != 2 || s->stride != 2 || s->padding != 0)
        return false;
    for (int i = 0; i < 4; i++) {
        if (size[i] < 1 || voxels > INT32_MAX / 8 / size[i]) /* the kernels count voxels in int */
            return false;
        voxels *= size[i];
    }
    for (int d = 0; d < 3; d++)
        if (s->x_size[d] != 2 * s->y_size[d]) /* some voxel of x has no voxel of y */
            return false;
    for (size_t i = 0; i < sizeof variants / sizeof *variants; i++) {
        const dbi_spread_variant *v = &variants[i];
        if (v->from != s->y_channels || v->to != s->x_channels)
            continue;
        if (cudaGetDevice(&device) != cudaSuccess ||
            cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device) != cudaSuccess ||
            (occupancy = dbi_least_occupancy(v->kernel, KINDS, 128, 0)) < 1) {
            cudaGetLastError();
            return false;
        }
        const int64_t groups = (voxels + 15) / 16, most = (int64_t)processors * occupancy;
        plan->variant = v;
        plan->sides = *s;
        plan->blocks = most < groups ? most : groups;
        return true;
    }
    return false;
}

int dbi_spread(const dbi_spread_plan *plan, dbi_stream stream, void *x, const void *weight, const void *y,
               const dbi_conv_extra *extra, dbi_error *error)
{
    const dbi_conv_sides *s = &plan->sides;
    spread_arguments a;
    void *list[] = {&a};
    memset(&a, 0, sizeof a);
    for (int d = 0; d < 3; d++)
        a.size[d] = (int)s->y_size[d];
    a.voxels = s->batch * s->y_size[0] * s->y_size[1] * s->y_size[2];
    a.y = (const dbi_bf16 *)y;
    a.weight = (const dbi_bf16 *)weight;
    a.x = (dbi_bf16 *)x;
    int kind = PLAIN;
    if (extra) {
        a.moments = extra->moments;
        a.norm = extra->norm;
        kind = a.norm.scale ? NORMALIZED : a.moments.count ? MOMENTS : PLAIN;
    }
    return DBI_CUDA(
        cudaLaunchKernel(plan->variant->kernel[kind], dim3((unsigned)plan->blocks), dim3(128), list, 0, stream), error);
}

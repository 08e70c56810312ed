#include "cpu/blocked.h"

#include <math.h>
#include <string.h>

#include "base/clones.h"

enum { TILE = 8, MARGIN = 2 + TILE }; /* first layer: voxels of a row at a time, and what a padded row is longer */

static int64_t voxels(const dbi_blocked *at)
{
    return at->size[0] * at->size[1] * at->size[2];
}

static int64_t chunks_of(int64_t count)
{
    return (count + DBI_CHUNK - 1) / DBI_CHUNK;
}

size_t dbi_blocked_partials(const dbi_blocked *at, int lanes, int classes, int image_channels)
{
    size_t blocks = (size_t)((at->channels + lanes - 1) / lanes), chunks = (size_t)(at->batch * chunks_of(voxels(at)));
    size_t sums = chunks * blocks * (size_t)(2 + 2 * classes) * (size_t)lanes + chunks * 2 * (size_t)classes;
    size_t first = (size_t)(at->batch * at->size[0]) * blocks * (size_t)image_channels * 27 * (size_t)lanes;
    return (sums > first ? sums : first) + 16;
}

static int64_t padded_row(int64_t z)
{
    return (z + MARGIN + 15) / 16 * 16;
}

size_t dbi_image_padded_count(int64_t batch, int channels, const int64_t size[3])
{
    return (size_t)(batch * channels * (size[0] + 2) * (size[1] + 2) * padded_row(size[2]));
}

void dbi_image_pad(int64_t batch, int channels, const int64_t size[3], const float *image, float *padded)
{
    int64_t row = padded_row(size[2]);
#pragma omp parallel for collapse(2) schedule(static)
    for (int64_t i = 0; i < batch * channels; i++)
        for (int64_t x = 0; x < size[0] + 2; x++)
            for (int64_t y = 0; y < size[1] + 2; y++) {
                float *to = padded + ((i * (size[0] + 2) + x) * (size[1] + 2) + y) * row;
                memset(to, 0, (size_t)row * sizeof *to);
                if (x > 0 && x <= size[0] && y > 0 && y <= size[1])
                    memcpy(to + 1, image + ((i * size[0] + x - 1) * size[1] + y - 1) * size[2],
                           (size_t)size[2] * sizeof *to);
            }
}

void dbi_channel_sums(int64_t batch, int channels, const int64_t size[3], const float *values, float *partial,
                      float *sums)
{
    int64_t v = size[0] * size[1] * size[2], chunks = chunks_of(v), count = batch * channels * chunks;
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < count; i++) {
        int64_t base = i / chunks * v, begin = i % chunks * DBI_CHUNK,
                end = begin + DBI_CHUNK < v ? begin + DBI_CHUNK : v;
        float sum = 0;
#pragma omp simd reduction(+ : sum)
        for (int64_t j = base + begin; j < base + end; j++)
            sum += values[j];
        partial[i] = sum;
    }
    for (int k = 0; k < channels; k++) {
        double sum = 0;
        for (int64_t n = 0; n < batch; n++)
            for (int64_t i = 0; i < chunks; i++)
                sum += partial[(n * channels + k) * chunks + i];
        sums[k] = (float)sum;
    }
}

/* tanh without branches, so that loops over it become vectors; within a few units in the last place. With e =
 * exp(-2|x|) - 1 it is -e / (e + 2), and e is 2^n exp(r) - 1 with |r| <= ln 2 / 2, by the exponential series to r^7. */
static inline __attribute__((always_inline)) float tanh_of(float x)
{
    const float log2e = 1.44269504f, ln2_high = 0.693359375f, ln2_low = -2.12194440e-4f,
                round = 12582912.0f; /* 1.5 2^23: adding it rounds */
    float size = __builtin_fabsf(x), y = -2 * (size < 20 ? size : 20), n = (y * log2e + round) - round;
    float r = (y - n * ln2_high) - n * ln2_low;
    float series =
        r *
        (1 + r * (0.5f + r * (1.0f / 6 + r * (1.0f / 24 + r * (1.0f / 120 + r * (1.0f / 720 + r * (1.0f / 5040)))))));
    union {
        int32_t bits;
        float value;
    } power = {.bits = ((int32_t)n + 127) << 23};
    float e = power.value * series + (power.value - 1);
    return x != x ? x : __builtin_copysignf(-e / (e + 2), x);
}

#define LANES   8
#define L(name) name##_8
#define TABLE   dbi_blocked_8
#include "cpu/blocked.inc.h"
#undef LANES
#undef L
#undef TABLE
#define LANES   16
#define L(name) name##_16
#define TABLE   dbi_blocked_16
#include "cpu/blocked.inc.h"

#include "base/random.h"

#include <Random123/philox.h>
#include <math.h>

void dbi_random_start(dbi_random *r, uint64_t seed, dbi_role role, uint32_t step, uint32_t stream)
{
    *r = (dbi_random){.key = {(uint32_t)seed, (uint32_t)(seed >> 32)}, .counter = {0, stream, step, (uint32_t)role}};
}

static void refill(dbi_random *r)
{
    philox4x32_ctr_t counter = {{r->counter[0], r->counter[1], r->counter[2], r->counter[3]}};
    philox4x32_key_t key = {{r->key[0], r->key[1]}};
    philox4x32_ctr_t out = philox4x32(counter, key);
    for (int i = 0; i < 4; i++)
        r->block[i] = out.v[i];
    r->counter[0]++;
    r->left = 4;
}

void dbi_random_seek(dbi_random *r, uint64_t position)
{
    r->counter[0] = (uint32_t)(position / 4);
    refill(r);
    r->left = 4 - (int)(position % 4);
}

uint32_t dbi_random_u32(dbi_random *r)
{
    if (!r->left)
        refill(r);
    return r->block[4 - r->left--];
}

uint32_t dbi_random_below(dbi_random *r, uint32_t bound)
{
    /* Lemire, "Fast random integer generation in an interval", 2019: multiply, and reject the few values that would
     * bias. */
    uint64_t product = (uint64_t)dbi_random_u32(r) * bound;
    if ((uint32_t)product < bound) {
        uint32_t threshold = -bound % bound;
        while ((uint32_t)product < threshold)
            product = (uint64_t)dbi_random_u32(r) * bound;
    }
    return (uint32_t)(product >> 32);
}

double dbi_random_uniform(dbi_random *r)
{
    uint64_t high = dbi_random_u32(r), low = dbi_random_u32(r);
    return (double)(high << 21 | low >> 11) * 0x1p-53;
}

double dbi_random_normal(dbi_random *r)
{
    double radius = sqrt(-2 * log(1 - dbi_random_uniform(r)));
    return radius * cos(2 * 3.14159265358979323846 * dbi_random_uniform(r));
}

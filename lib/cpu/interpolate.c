/* Rows are done in pieces. A piece is first put together from the rows around it, into a buffer that stays near the
 * processor, and then taken along the row. What is known of the places along the row is found once for all rows of a
 * plane, because it costs divisions. */
#include "cpu/interpolate.h"

#include <string.h>

#include "base/clones.h"
#include "net/interpolation_math.h"

enum { LONGEST = 16, PIECE = 32 }; /* lanes; places of the input */

/* Output places in which PIECE neighbours of the input have shares: two for each, and those beside the outer ones. */
enum { SPREAD = 2 * PIECE + 2 * DBI_INTERPOLATION_MOST };

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* buffer += share row */
DBI_INLINE void add_row(float *restrict buffer, const float *restrict row, float share, int64_t count)
{
#pragma omp simd
    for (int64_t i = 0; i < count; i++)
        buffer[i] += share * row[i];
}

/* An output place: two neighbours in the buffer. */
typedef struct place {
    int64_t low, high;
    float share;
} place;

/* The output places from `begin` on, `count` of them, of one plane x. from: the first place of the row that they need;
 * width: so many places. */
typedef struct piece {
    place at[2 * PIECE];
    int64_t begin, count, from, width;
} piece;

static void make_piece(piece *p, int64_t begin, int64_t n)
{
    p->begin = begin;
    p->count = smaller(2 * PIECE, 2 * n - begin);
    p->from = dbi_interpolation_at(begin, n).low;
    for (int64_t i = 0; i < p->count; i++) {
        const dbi_interpolation z = dbi_interpolation_at(begin + i, n);
        p->at[i] = (place){z.low - p->from, z.high - p->from, (float)z.share};
        p->width = z.high - p->from + 1;
    }
}

DBI_INLINE void interpolate_piece(const piece *p, int lanes, const int64_t n[3], const dbi_interpolation *x, int64_t y,
                                  const float *in, float *out)
{
    float buffer[(PIECE + 2) * LONGEST] = {0};
    const dbi_interpolation at = dbi_interpolation_at(y, n[1]);
    for (int corner = 0; corner < 4; corner++) {
        const int64_t i = corner / 2 ? x->high : x->low, j = corner % 2 ? at.high : at.low;
        const double share = (corner / 2 ? x->share : 1 - x->share) * (corner % 2 ? at.share : 1 - at.share);
        add_row(buffer, in + ((i * n[1] + j) * n[2] + p->from) * lanes, (float)share, p->width * lanes);
    }
    for (int64_t k = 0; k < p->count; k++) {
        const float *low = buffer + p->at[k].low * lanes, *high = buffer + p->at[k].high * lanes;
        const float share = p->at[k].share;
#pragma omp simd
        for (int c = 0; c < lanes; c++)
            out[(p->begin + k) * lanes + c] = low[c] + share * (high[c] - low[c]);
    }
}

/* Output plane i, counted over samples, blocks and x. */
DBI_INLINE void interpolate_plane(const dbi_blocked *at, int lanes, int64_t i, const float *in, float *out)
{
    const int64_t *n = at->size;
    const dbi_interpolation x = dbi_interpolation_at(i % (2 * n[0]), n[0]);
    piece p;
    in += i / (2 * n[0]) * n[0] * n[1] * n[2] * lanes;
    out += i * 4 * n[1] * n[2] * lanes;
    for (int64_t begin = 0; begin < 2 * n[2]; begin += 2 * PIECE) {
        make_piece(&p, begin, n[2]);
        for (int64_t y = 0; y < 2 * n[1]; y++)
            interpolate_piece(&p, lanes, n, &x, y, in, out + y * 2 * n[2] * lanes);
    }
}

/* An input place: the output places in which it has shares. */
typedef struct gathered {
    int64_t begin, count; /* in the buffer */
    float share[DBI_INTERPOLATION_MOST];
} gathered;

/* The same for the gradient: input places, and what they need of an output row. */
typedef struct gathered_piece {
    gathered at[PIECE];
    int64_t begin, count, from, width;
} gathered_piece;

static void make_gathered_piece(gathered_piece *p, int64_t begin, int64_t n)
{
    p->begin = begin;
    p->count = smaller(PIECE, n - begin);
    p->from = dbi_interpolation_range_of(begin, n).begin;
    for (int64_t i = 0; i < p->count; i++) {
        const dbi_interpolation_range r = dbi_interpolation_range_of(begin + i, n);
        p->at[i] = (gathered){.begin = r.begin - p->from, .count = r.end - r.begin};
        for (int64_t o = r.begin; o < r.end; o++)
            p->at[i].share[o - r.begin] = (float)dbi_interpolation_share(o, begin + i, n);
        p->width = r.end - p->from;
    }
}

DBI_INLINE void gather_piece(const gathered_piece *p, int lanes, const int64_t n[3], int64_t x, int64_t y,
                             const float *dout, float *din, bool add)
{
    float buffer[SPREAD * LONGEST] = {0};
    const dbi_interpolation_range xs = dbi_interpolation_range_of(x, n[0]), ys = dbi_interpolation_range_of(y, n[1]);
    for (int64_t i = xs.begin; i < xs.end; i++)
        for (int64_t j = ys.begin; j < ys.end; j++) {
            const double share = dbi_interpolation_share(i, x, n[0]) * dbi_interpolation_share(j, y, n[1]);
            add_row(buffer, dout + ((i * 2 * n[1] + j) * 2 * n[2] + p->from) * lanes, (float)share, p->width * lanes);
        }
    for (int64_t k = 0; k < p->count; k++) {
        const gathered *g = &p->at[k];
        float sum[LONGEST] = {0}, *to = din + (p->begin + k) * lanes;
        if (add)
            memcpy(sum, to, (size_t)lanes * sizeof *to);
        for (int64_t o = 0; o < g->count; o++)
            add_row(sum, buffer + (g->begin + o) * lanes, g->share[o], lanes);
        memcpy(to, sum, (size_t)lanes * sizeof *to);
    }
}

/* Input plane i, counted over samples, blocks and x. */
DBI_INLINE void gather_plane(const dbi_blocked *at, int lanes, int64_t i, const float *dout, float *din, bool add)
{
    const int64_t *n = at->size, x = i % n[0];
    gathered_piece p;
    dout += i / n[0] * 8 * n[0] * n[1] * n[2] * lanes;
    din += i * n[1] * n[2] * lanes;
    for (int64_t begin = 0; begin < n[2]; begin += PIECE) {
        make_gathered_piece(&p, begin, n[2]);
        for (int64_t y = 0; y < n[1]; y++)
            gather_piece(&p, lanes, n, x, y, dout, din + y * n[2] * lanes, add);
    }
}

static int64_t planes_of(const dbi_blocked *at, int lanes)
{
    return at->batch * ((at->channels + lanes - 1) / lanes) * at->size[0];
}

DBI_CLONES static void interpolate_8(const dbi_blocked *at, const float *in, float *out)
{
#pragma omp parallel for schedule(guided)
    for (int64_t i = 0; i < 2 * planes_of(at, 8); i++)
        interpolate_plane(at, 8, i, in, out);
}

DBI_CLONES static void interpolate_16(const dbi_blocked *at, const float *in, float *out)
{
#pragma omp parallel for schedule(guided)
    for (int64_t i = 0; i < 2 * planes_of(at, 16); i++)
        interpolate_plane(at, 16, i, in, out);
}

DBI_CLONES static void gather_8(const dbi_blocked *at, const float *dout, float *din, bool add)
{
#pragma omp parallel for schedule(guided)
    for (int64_t i = 0; i < planes_of(at, 8); i++)
        gather_plane(at, 8, i, dout, din, add);
}

DBI_CLONES static void gather_16(const dbi_blocked *at, const float *dout, float *din, bool add)
{
#pragma omp parallel for schedule(guided)
    for (int64_t i = 0; i < planes_of(at, 16); i++)
        gather_plane(at, 16, i, dout, din, add);
}

void dbi_blocked_interpolate(const dbi_blocked *at, int lanes, const float *in, float *out)
{
    (lanes == 16 ? interpolate_16 : interpolate_8)(at, in, out);
}

void dbi_blocked_interpolate_gradient(const dbi_blocked *at, int lanes, const float *dout, float *din, bool add)
{
    (lanes == 16 ? gather_16 : gather_8)(at, dout, din, add);
}

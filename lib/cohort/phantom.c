#include "cohort/phantom.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/random.h"
#include "cohort/smooth.h"

/* All lengths are in millimetres, in a field of view of about FIELD across. The axes of the anatomy are x to the right,
 * y to the front, z to the head. */
#define FIELD          80.0
#define LABELED_VESSEL 7.0  /* how far from the body a vessel is labelled */
#define OUTSIDE        -1e3 /* the depth of points far from a structure */

enum { MAX_VESSELS = 5, CURVE_POINTS = 10, FIELDS = 9 };

/* The streams of random numbers of a scan. Each part has its own, so that one more draw in a part does not change the
 * others. */
enum { STREAM_GRID, STREAM_SHAPE, STREAM_LOOK, STREAM_FIELD, STREAM_NOISE = 0x1000 };

typedef enum tissue { MUSCLE, FAT, LUNG, WALL, CHAMBER, ATRIUM, TUBE, BODY, TISSUES } tissue;

/* The brightness of the tissues in each channel; blood in the body is 1 in the first. MUSCLE in the first channel is 1
 * - contrast. */
static const double channel_brightness[DBI_PHANTOM_CHANNELS][TISSUES] = {
    {0, 0.85, 0.15, 0, 1, 1, 1, 1},
    {0.75, 1, 0.12, 0.7, 0.55, 0.5, 0.3, 0.45},
    {0.4, 0.3, 0.1, 0.5, 0.6, 0.75, 1, 0.85},
    {0.6, 0.2, 0.3, 0.8, 0.7, 0.4, 0.5, 1},
};

typedef struct ellipsoid {
    double centre[3], radius[3];
} ellipsoid;

typedef struct tube {
    double point[CURVE_POINTS][3], radius[CURVE_POINTS];
    double low[3], high[3]; /* the tube lies in this box */
} tube;

typedef struct anatomy {
    double to_anatomy[9], shift[3]; /* anatomy = to_anatomy * (scan mm from the centre) + shift */
    double deformation;
    ellipsoid body, chamber, atrium;
    int vessels;
    tube vessel[MAX_VESSELS], large[2];
} anatomy;

typedef struct look {
    double brightness[DBI_PHANTOM_CHANNELS][TISSUES];
    double texture, flow, edge, wall, wall_part, fat_part, lung_part, bias, slope[3], gamma, sigma,
        scale[DBI_PHANTOM_CHANNELS];
} look;

typedef struct grid {
    int64_t shape[3]; /* before the order of storage: x, y in plane, z across */
    double spacing[3], oblique[9], world[3];
    int order[3]; /* stored axis a is axis order[a] */
    bool flip[3];
} grid;

enum field_name { BEND_X, BEND_Y, BEND_Z, FATTY, AIRY, FINE, COARSE, WALLED, SHADE };
static const double field_cell[FIELDS] = {26, 26, 26, 11, 16, 3, 9, 12, 55};

dbi_phantom_settings dbi_phantom_defaults(void)
{
    return (dbi_phantom_settings){
        .size = 80, .channels = 1, .classes = 1, .contrast = 0.45, .noise = 0.06, .variability = 1, .neighbors = 0.8};
}

static double between(dbi_random *r, double low, double high)
{
    return low + (high - low) * dbi_random_uniform(r);
}

/* Uniform from middle - spread to middle + spread. */
static double around(dbi_random *r, double middle, double spread)
{
    return middle + spread * (2 * dbi_random_uniform(r) - 1);
}

static void rotate(const double m[9], const double v[3], double out[3])
{
    for (int i = 0; i < 3; i++)
        out[i] = m[3 * i] * v[0] + m[3 * i + 1] * v[1] + m[3 * i + 2] * v[2];
}

/* Rotation by angles (radians) about x, then y, then z. */
static void rotation(const double angle[3], double m[9])
{
    double cx = cos(angle[0]), sx = sin(angle[0]), cy = cos(angle[1]), sy = sin(angle[1]), cz = cos(angle[2]),
           sz = sin(angle[2]);
    const double out[9] = {cz * cy,
                           cz * sy * sx - sz * cx,
                           cz * sy * cx + sz * sx,
                           sz * cy,
                           sz * sy * sx + cz * cx,
                           sz * sy * cx - cz * sx,
                           -sy,
                           cy * sx,
                           cy * cx};
    memcpy(m, out, sizeof out);
}

static double length(const double v[3])
{
    return sqrt(v[0] * v[0] + v[1] * v[1] + v[2] * v[2]);
}

static void draw_grid(const dbi_phantom_settings *s, uint32_t index, grid *g)
{
    dbi_random r;
    dbi_random_start(&r, s->seed, DBI_ROLE_PHANTOM, index, STREAM_GRID);
    double size = (double)s->size;
    for (int a = 0; a < 3; a++) {
        g->shape[a] = (int64_t)lround(size * (a == 2 ? 0.8 : 1) * between(&r, 0.9, 1.1));
        if (g->shape[a] < 8)
            g->shape[a] = 8;
    }
    /* Spacings are rounded to a micrometre, as scanners report them. In plane they are equal, so that a turn by 90
     * degrees keeps the anatomy's proportions. */
    double plane = round(FIELD / size * between(&r, 0.95, 1.05) * 1e3) / 1e3;
    g->spacing[0] = g->spacing[1] = plane;
    g->spacing[2] = round(plane * between(&r, 1.15, 1.4) * 1e3) / 1e3;
    double angle[3];
    for (int a = 0; a < 3; a++)
        angle[a] = around(&r, 0, 0.2);
    rotation(angle, g->oblique);
    for (int a = 0; a < 3; a++)
        g->world[a] = around(&r, 0, 60);
    for (int a = 0; a < 3; a++)
        g->order[a] = a;
    for (int a = 2; a > 0; a--) {
        int b = (int)dbi_random_below(&r, (uint32_t)a + 1), other = g->order[b];
        g->order[b] = g->order[a];
        g->order[a] = other;
    }
    for (int a = 0; a < 3; a++)
        g->flip[a] = dbi_random_below(&r, 2);
}

/* How far inside an ellipsoid a point is, to first order; negative outside. */
static double ellipsoid_depth(const ellipsoid *e, const double p[3])
{
    double f = 0, g = 0;
    for (int a = 0; a < 3; a++) {
        double u = (p[a] - e->centre[a]) / e->radius[a];
        f += u * u;
        g += u * u / (e->radius[a] * e->radius[a]);
    }
    if (g < 1e-12)
        return fmin(fmin(e->radius[0], e->radius[1]), e->radius[2]);
    return (1 - sqrt(f)) * sqrt(f / g);
}

/* The distance from the centre to the surface of an ellipsoid in a direction of length 1. */
static double ellipsoid_reach(const ellipsoid *e, const double direction[3])
{
    double f = 0;
    for (int a = 0; a < 3; a++)
        f += direction[a] * direction[a] / (e->radius[a] * e->radius[a]);
    return 1 / sqrt(f);
}

/* Makes a tube along the quadratic Bezier curve of three points, with a radius from `first` to `last`. */
static void make_tube(tube *t, const double from[3], const double over[3], const double to[3], double first,
                      double last)
{
    double wide = fmax(first, last) + 6;
    for (int a = 0; a < 3; a++) {
        t->low[a] = INFINITY;
        t->high[a] = -INFINITY;
    }
    for (int i = 0; i < CURVE_POINTS; i++) {
        double u = (double)i / (CURVE_POINTS - 1), v = 1 - u;
        t->radius[i] = v * first + u * last;
        for (int a = 0; a < 3; a++) {
            double x = v * v * from[a] + 2 * u * v * over[a] + u * u * to[a];
            t->point[i][a] = x;
            t->low[a] = fmin(t->low[a], x - wide);
            t->high[a] = fmax(t->high[a], x + wide);
        }
    }
}

static double tube_depth(const tube *t, const double p[3])
{
    for (int a = 0; a < 3; a++)
        if (p[a] < t->low[a] || p[a] > t->high[a])
            return OUTSIDE;
    double depth = OUTSIDE;
    for (int i = 0; i + 1 < CURVE_POINTS; i++) {
        double along[3], to[3], ll = 0, lt = 0, dd = 0;
        for (int a = 0; a < 3; a++) {
            along[a] = t->point[i + 1][a] - t->point[i][a];
            to[a] = p[a] - t->point[i][a];
            ll += along[a] * along[a];
            lt += along[a] * to[a];
        }
        double u = ll > 0 ? fmin(fmax(lt / ll, 0), 1) : 0;
        for (int a = 0; a < 3; a++)
            dd += (to[a] - u * along[a]) * (to[a] - u * along[a]);
        depth = fmax(depth, t->radius[i] + u * (t->radius[i + 1] - t->radius[i]) - sqrt(dd));
    }
    return depth;
}

/* A random direction near a given one, of length 1. */
static void direction_near(dbi_random *r, const double near[3], double spread, double out[3])
{
    for (int a = 0; a < 3; a++)
        out[a] = near[a] + around(r, 0, spread);
    double l = length(out);
    for (int a = 0; a < 3; a++)
        out[a] /= l;
}

/* Puts an ellipsoid beside the body, in this direction, so that their surfaces are `gap` apart. */
static void put_beside(ellipsoid *e, const ellipsoid *body, const double direction[3], double gap)
{
    double far = ellipsoid_reach(body, direction) + ellipsoid_reach(e, direction) + gap;
    for (int a = 0; a < 3; a++)
        e->centre[a] = body->centre[a] + far * direction[a];
}

static void draw_vessel(dbi_random *r, const ellipsoid *body, const double near[3], double v, tube *t)
{
    double d[3], bend[3], from[3], over[3], to[3];
    direction_near(r, near, 0.25 * v, d);
    direction_near(r, near, 0.25 + 0.6 * v, bend);
    double reach = ellipsoid_reach(body, d), straight = around(r, 11, 3 * v), rest = around(r, 17, 5 * v);
    for (int a = 0; a < 3; a++) {
        from[a] = body->centre[a] + 0.6 * reach * d[a];
        over[a] = body->centre[a] + (reach + straight) * d[a];
        to[a] = over[a] + rest * bend[a];
    }
    double first = around(r, 5.5, 1.2 * v);
    make_tube(t, from, over, to, first, first * around(r, 0.55, 0.2 * v));
}

static void draw_anatomy(const dbi_phantom_settings *s, uint32_t index, const grid *g, anatomy *a)
{
    static const double nominal[MAX_VESSELS][3] = {
        {1, -0.3, 0.5}, {-1, -0.2, 0.5}, {1, -0.45, -0.35}, {-1, -0.45, -0.35}, {-0.35, -1, 0.25}};
    static const double chamber[3] = {-0.35, 0.75, -0.45}, atrium[3] = {0.85, 0.5, -0.1};
    double v = s->variability;
    dbi_random r;
    dbi_random_start(&r, s->seed, DBI_ROLE_PHANTOM, index, STREAM_SHAPE);
    double angle[3], pose[9];
    for (int i = 0; i < 3; i++)
        angle[i] = around(&r, 0, 0.3 * v);
    rotation(angle, pose);
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < 3; j++)
            a->to_anatomy[3 * i + j] =
                pose[3 * i] * g->oblique[j] + pose[3 * i + 1] * g->oblique[3 + j] + pose[3 * i + 2] * g->oblique[6 + j];
    for (int i = 0; i < 3; i++)
        a->shift[i] = around(&r, 0, 5 * v);
    a->deformation = around(&r, 2.4, 0.8) * v;
    double grow = around(&r, 1, 0.14 * v);
    const double radius[3] = {19, 14, 15};
    for (int i = 0; i < 3; i++) {
        a->body.centre[i] = 0;
        a->body.radius[i] = grow * radius[i] * around(&r, 1, 0.14 * v);
        a->chamber.radius[i] = 17 * around(&r, 1, 0.16 * v);
        a->atrium.radius[i] = 14 * around(&r, 1, 0.2 * v);
    }
    double d[3];
    direction_near(&r, chamber, 0.35 * v, d);
    put_beside(&a->chamber, &a->body, d, around(&r, -1, 1 * v));
    direction_near(&r, atrium, 0.35 * v, d);
    put_beside(&a->atrium, &a->body, d, around(&r, 0.5, 2 * v));
    int least = v > 0 ? 3 : 4, most = v > 0 ? 5 : 4;
    a->vessels = least + (int)dbi_random_below(&r, (uint32_t)(most - least + 1));
    for (int i = 0; i < a->vessels; i++)
        draw_vessel(&r, &a->body, nominal[i], v, &a->vessel[i]);
    /* One tube runs up behind the body, the other across above it. In many scans they touch the body. */
    double wide = around(&r, 8, 2 * v), back = -(a->body.radius[1] + wide) - around(&r, 1.5, 2 * v),
           side = around(&r, -10, 8 * v);
    const double low[3] = {side + around(&r, 0, 8 * v), back, -60}, middle[3] = {side, back, 0},
                 high[3] = {side + around(&r, 4, 8 * v), back + 4, 60};
    make_tube(&a->large[0], low, middle, high, wide, wide);
    wide = around(&r, 7.5, 2 * v);
    double above = a->body.radius[2] + wide + around(&r, 2, 2 * v), front = around(&r, 4, 6 * v);
    const double left[3] = {-55, front - 6, above + around(&r, 6, 6 * v)}, over[3] = {0, front, above},
                 right[3] = {55, front - 6, above + around(&r, 6, 6 * v)};
    make_tube(&a->large[1], left, over, right, wide, wide);
}

static void draw_look(const dbi_phantom_settings *s, uint32_t index, look *l)
{
    double v = s->variability, apart = 1 - s->neighbors;
    dbi_random r;
    dbi_random_start(&r, s->seed, DBI_ROLE_PHANTOM, index, STREAM_LOOK);
    double muscle = 1 - s->contrast * around(&r, 1, 0.4 * v);
    for (int c = 0; c < DBI_PHANTOM_CHANNELS; c++) {
        for (int t = 0; t < TISSUES; t++)
            l->brightness[c][t] =
                channel_brightness[c][t] * around(&r, 1, (c == 0 && t != FAT && t != LUNG ? 0.04 : 0.2) * v);
        l->scale[c] = exp(between(&r, log(180), log(900)));
    }
    double *first = l->brightness[0];
    first[BODY] = 1;
    first[MUSCLE] = fmax(muscle, 0.05);
    first[WALL] = first[MUSCLE] + around(&r, 0.05, 0.5 * v) * (1 - first[MUSCLE]);
    /* With `neighbors` below 1 the neighbours are darker than the body in all scans: a fixed sign, which a network
     * learns from few scans. */
    first[CHAMBER] -= 0.6 * apart * s->contrast;
    first[ATRIUM] -= 0.6 * apart * s->contrast;
    first[TUBE] -= 0.6 * apart * s->contrast;
    l->texture = around(&r, 0.12, 0.06 * v);
    l->flow = around(&r, 0.07, 0.05 * v);
    l->edge = around(&r, 1.8, 0.7 * v);
    l->wall = around(&r, 1.6, 0.6 * v);
    l->wall_part = around(&r, 0.3, 0.5 * v);
    l->fat_part = around(&r, 0.9, 0.5 * v);
    l->lung_part = around(&r, 0, 0.5 * v);
    l->bias = around(&r, 0.15, 0.12 * v);
    for (int i = 0; i < 3; i++)
        l->slope[i] = around(&r, 0, 0.3 * v) / (FIELD / 2);
    l->gamma = exp(around(&r, 0, 0.25 * v));
    l->sigma = s->noise * around(&r, 1, 0.5 * v);
}

/* Goes smoothly from 0 to 1 over `width` round 0. */
static double step(double x, double width)
{
    double t = fmin(fmax(0.5 + x / width, 0), 1);
    return t * t * (3 - 2 * t);
}

static double mix(double from, double to, double part)
{
    return from + (to - from) * part;
}

typedef struct depths {
    double body, blood, chamber, atrium, tubes; /* blood: the body and its vessels */
    bool labeled;                               /* in the body or the labelled part of a vessel */
} depths;

static depths measure(const anatomy *a, const double p[3])
{
    depths d = {.body = ellipsoid_depth(&a->body, p),
                .chamber = ellipsoid_depth(&a->chamber, p),
                .atrium = ellipsoid_depth(&a->atrium, p)};
    double vessels = OUTSIDE;
    for (int i = 0; i < a->vessels; i++)
        vessels = fmax(vessels, tube_depth(&a->vessel[i], p));
    d.blood = fmax(d.body, vessels);
    d.tubes = fmax(tube_depth(&a->large[0], p), tube_depth(&a->large[1], p));
    d.labeled = d.body > 0 || (vessels > 0 && d.body > -LABELED_VESSEL);
    return d;
}

/* The brightness of a point in a channel, without bias and noise. `field` has the fields' values at the point. */
static double paint(const look *l, int channel, const depths *d, const float field[FIELDS], double across)
{
    const double *b = l->brightness[channel];
    double flow = 1 + l->flow * field[COARSE];
    double v = b[MUSCLE];
    v = mix(v, b[FAT], step(field[FATTY] - l->fat_part, 0.6));
    v = mix(v, b[LUNG], step(field[AIRY] * 4 + fabs(across) - 30 - 10 * l->lung_part, 5));
    v *= 1 + l->texture * (0.6 * field[FINE] + 0.8 * field[COARSE]);
    v = mix(v, b[TUBE] * flow, step(d->tubes, l->edge));
    v = mix(v, b[ATRIUM] * flow, step(d->atrium, l->edge));
    v = mix(v, b[CHAMBER] * flow, step(d->chamber, l->edge));
    v = mix(v, b[WALL], step(d->blood + l->wall, l->edge) * step(field[WALLED] + l->wall_part, 0.8));
    return fmax(mix(v, b[BODY] * flow, step(d->blood, l->edge)), 0);
}

static uint8_t classify(const dbi_phantom_settings *s, const depths *d)
{
    if (d->labeled)
        return 1;
    if (s->classes >= 2 && d->chamber > 0 && d->blood <= 0)
        return 2;
    return s->classes >= 3 && d->tubes > 0 && d->blood <= 0 && d->chamber <= 0 && d->atrium <= 0 ? 3 : 0;
}

/* A magnitude image's noise: the length of a complex number with normal noise in both parts. */
static float measured(dbi_random *r, double signal, double sigma, double scale)
{
    double radius = sigma * sqrt(-2 * log(1 - dbi_random_uniform(r))),
           angle = 6.283185307179586 * dbi_random_uniform(r);
    double in_phase = signal + radius * cos(angle), quadrature = radius * sin(angle);
    return (float)fmin(round(scale * sqrt(in_phase * in_phase + quadrature * quadrature)), INT16_MAX);
}

/* Where voxel (x, y, z) of the grid before ordering is stored. */
static int64_t stored_at(const grid *g, const int64_t at[3])
{
    int64_t index = 0;
    for (int a = 0; a < 3; a++) {
        int from = g->order[a];
        index = index * g->shape[from] + (g->flip[a] ? g->shape[from] - 1 - at[from] : at[from]);
    }
    return index;
}

static void render(const dbi_phantom_settings *s, uint32_t index, const grid *g, const anatomy *a, const look *l,
                   float *const fields[FIELDS], dbi_phantom *out)
{
    float *image[DBI_PHANTOM_CHANNELS];
    for (int c = 0; c < s->channels; c++)
        image[c] = out->image[c].data;
    uint8_t *label = out->label.data;
    int64_t at[3];
    for (at[0] = 0; at[0] < g->shape[0]; at[0]++) {
        dbi_random noise[DBI_PHANTOM_CHANNELS];
        for (int c = 0; c < s->channels; c++)
            dbi_random_start(&noise[c], s->seed, DBI_ROLE_PHANTOM, index,
                             STREAM_NOISE * (uint32_t)(c + 1) + (uint32_t)at[0]);
        for (at[1] = 0; at[1] < g->shape[1]; at[1]++)
            for (at[2] = 0; at[2] < g->shape[2]; at[2]++) {
                int64_t v = (at[0] * g->shape[1] + at[1]) * g->shape[2] + at[2], to = stored_at(g, at);
                float field[FIELDS];
                for (int f = 0; f < FIELDS; f++)
                    field[f] = fields[f][v];
                double q[3], p[3], slope = 0;
                for (int i = 0; i < 3; i++) {
                    q[i] = ((double)at[i] - 0.5 * (double)(g->shape[i] - 1)) * g->spacing[i];
                    slope += l->slope[i] * q[i];
                }
                rotate(a->to_anatomy, q, p);
                for (int i = 0; i < 3; i++)
                    p[i] += a->shift[i] + a->deformation * field[BEND_X + i];
                depths d = measure(a, p);
                double bias = exp(l->bias * field[SHADE] + slope);
                for (int c = 0; c < s->channels; c++)
                    image[c][to] =
                        measured(&noise[c], bias * pow(paint(l, c, &d, field, p[0]), l->gamma), l->sigma, l->scale[c]);
                label[to] = classify(s, &d);
            }
    }
}

/* The scan's grid as it is stored. */
static dbi_grid stored_grid(const grid *g)
{
    dbi_grid out = {.affine = {[3] = {0, 0, 0, 1}}};
    double corner[3] = {0, 0,
                        0}; /* the position of stored voxel 0, in mm from the centre of the grid before ordering */
    for (int a = 0; a < 3; a++) {
        int from = g->order[a];
        double sign = g->flip[a] ? -1 : 1;
        out.shape[a] = g->shape[from];
        corner[from] = -sign * 0.5 * (double)(g->shape[from] - 1) * g->spacing[from];
        for (int i = 0; i < 3; i++)
            out.affine[i][a] = sign * g->oblique[3 * i + from] * g->spacing[from];
    }
    double world[3];
    rotate(g->oblique, corner, world);
    for (int i = 0; i < 3; i++)
        out.affine[i][3] = g->world[i] + world[i];
    return out;
}

static int check_settings(const dbi_phantom_settings *s, dbi_error *error)
{
    if (s->size < 16 || s->size > 512)
        return dbi_fail(error, "a size of %lld voxels is not from 16 to 512", (long long)s->size);
    if (s->channels < 1 || s->channels > DBI_PHANTOM_CHANNELS || s->classes < 1 || s->classes > DBI_PHANTOM_CLASSES)
        return dbi_fail(error, "%d channels and %d classes: at most %d and %d", s->channels, s->classes,
                        DBI_PHANTOM_CHANNELS, DBI_PHANTOM_CLASSES);
    if (!(s->contrast >= 0 && s->contrast <= 1 && s->noise >= 0 && s->noise <= 1 && s->neighbors >= 0 &&
          s->neighbors <= 1))
        return dbi_fail(error, "contrast, noise and neighbors go from 0 to 1");
    if (!(s->variability >= 0 && s->variability <= 2))
        return dbi_fail(error, "the variability goes from 0 to 2");
    return 0;
}

static int draw_fields(const dbi_phantom_settings *s, uint32_t index, const grid *g, int64_t voxels,
                       float *fields[FIELDS], dbi_error *error)
{
    for (int f = 0; f < FIELDS; f++) {
        dbi_random r;
        dbi_random_start(&r, s->seed, DBI_ROLE_PHANTOM, index, STREAM_FIELD + (uint32_t)f);
        if (!(fields[f] = dbi_alloc((size_t)voxels, sizeof **fields, error)) ||
            dbi_smooth_field(&r, g->shape, g->spacing, field_cell[f], fields[f], error))
            return -1;
    }
    return 0;
}

int dbi_phantom_make(const dbi_phantom_settings *settings, uint32_t index, dbi_phantom *phantom, dbi_error *error)
{
    *phantom = (dbi_phantom){.channels = settings->channels};
    if (check_settings(settings, error))
        return -1;
    grid g;
    anatomy a;
    look l;
    draw_grid(settings, index, &g);
    draw_anatomy(settings, index, &g, &a);
    draw_look(settings, index, &l);
    dbi_grid stored = stored_grid(&g);
    float *fields[FIELDS] = {NULL};
    int result = draw_fields(settings, index, &g, g.shape[0] * g.shape[1] * g.shape[2], fields, error);
    for (int c = 0; result == 0 && c < settings->channels; c++)
        result = dbi_volume_new(&phantom->image[c], &stored, 1, DBI_F32, error);
    if (result == 0)
        result = dbi_volume_new(&phantom->label, &stored, 1, DBI_U8, error);
    if (result == 0)
        render(settings, index, &g, &a, &l, fields, phantom);
    else
        dbi_phantom_free(phantom);
    for (int f = 0; f < FIELDS; f++)
        free(fields[f]);
    return result;
}

void dbi_phantom_free(dbi_phantom *phantom)
{
    for (int c = 0; c < DBI_PHANTOM_CHANNELS; c++)
        dbi_volume_free(&phantom->image[c]);
    dbi_volume_free(&phantom->label);
    *phantom = (dbi_phantom){0};
}

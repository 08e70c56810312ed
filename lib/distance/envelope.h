/* The lower envelope of the parabolas f_k + w (i - k)^2 over one line of voxels: the core of the exact distance
 * transforms. Intersections are computed in double, so that integer squares stay exact far beyond any volume's size. */
#ifndef DBI_DISTANCE_ENVELOPE_H
#define DBI_DISTANCE_ENVELOPE_H

#include <stdint.h>

typedef struct envelope {
    int32_t *at;           /* positions of the parabolas that are left, in order */
    float *height;         /* their f */
    double *from;          /* where each begins to be the lowest */
    int32_t top;           /* index of the last, -1: none */
    const double *inverse; /* inverse[k] = 1 / (2 w k) */
} envelope;

/* Adds a parabola to the right of all others. */
static inline void envelope_push(envelope *e, int32_t at, float height)
{
    int32_t top = e->top;
    double from = -1e300;
    while (top >= 0) {
        int32_t other = e->at[top];
        from = ((double)height - (double)e->height[top]) * e->inverse[at - other] + 0.5 * ((double)at + (double)other);
        if (from > e->from[top])
            break;
        top--;
    }
    if (top < 0)
        from = -1e300;
    e->top = ++top;
    e->at[top] = at;
    e->height[top] = height;
    e->from[top] = from;
}

#endif

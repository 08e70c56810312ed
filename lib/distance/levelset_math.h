/* The level set's formulas that are computed in double whatever the type of p, for host and device. */
#ifndef DBI_DISTANCE_LEVELSET_MATH_H
#define DBI_DISTANCE_LEVELSET_MATH_H

#include <math.h>
#include <stdint.h>

#include "base/host_device.h"

/* The gradient's floor: dS/dp at a foot is 1 / |grad p|, and |grad p| counts as at least this much per voxel. */
#define DBI_LEVELSET_FLOOR 0.05

/* v[axis] of an array of three. With a variable index the device could not keep the array in registers. The host can
 * use one, and a choice between the elements would cost it branches that no processor foresees. */
#ifdef __CUDA_ARCH__
#define DBI_OF_AXIS(v, axis) ((axis) == 0 ? (v)[0] : (axis) == 1 ? (v)[1] : (v)[2])
#else
#define DBI_OF_AXIS(v, axis) ((v)[axis])
#endif

/* An edge of the grid, and its foot: where p passes 1/2 on it. */
typedef struct dbi_crossed_edge {
    uint32_t a, b; /* voxels at its ends */
    uint32_t axis;
    double t;        /* the foot's place between them: 0 at a, 1 at b */
    double place[3]; /* of the foot */
    double change;   /* of p from a to b */
} dbi_crossed_edge;

/* The squared distance of a voxel from the foot; *along: its part in the direction of the edge. */
DBI_HD double dbi_foot_square(const dbi_crossed_edge *e, double x, double y, double z, double *along)
{
    const double away[3] = {e->place[0] - x, e->place[1] - y, e->place[2] - z};
    *along = DBI_OF_AXIS(away, e->axis);
    return away[0] * away[0] + away[1] * away[1] + away[2] * away[2];
}

/* The derivative of d + dbi_to_centre_f32(d). Both parts are computed before one is chosen, so that loops become
 * vector instructions. */
DBI_HD double dbi_to_centre_slope(double d)
{
    const double near = d < 0.25 ? 3 : 1, far = 1 - 0.25 / (d * sqrt(d));
    return d < 1 ? near : far;
}

/* The derivative of an outer voxel's S, and the negated one of an inner voxel's, by p at the foot: (1 - t) and t of it
 * are those by p at the edge's ends. On the foot itself the distance has no direction: there S grows as the foot moves
 * away. At most 3 / DBI_LEVELSET_FLOOR. */
DBI_HD double dbi_levelset_slope(double d, double along, double t, double change)
{
    const double steepest = 1 / DBI_LEVELSET_FLOOR, towards = t < 0.5 ? 1 : -1, cosine = d > 1e-9 ? along / d : towards;
    const double up = cosine / change, slope = up > steepest ? steepest : up < -steepest ? -steepest : up;
    return slope * dbi_to_centre_slope(d);
}

#endif

/* The level set's formulas that depend on the type of p, for host and device. Feet are computed in double from
 * either type: both then choose the same ones. */
#pragma once
#include <stdbool.h>

#include "base/real.h"
#include "distance/levelset_math.h"

DBI_HD bool dbi_inside_f32(real p)
{
    return p > (real)0.5;
}

/* Where p passes 1/2 between a and b: 0 at a, 1 at b. */
DBI_HD double dbi_crossing_f32(real a, real b)
{
    return (0.5 - (double)a) / ((double)b - (double)a);
}

/* The edge of that number (distance/feet.h) in a volume of this size. */
DBI_HD dbi_crossed_edge dbi_crossed_edge_of_f32(const uint32_t size[3], const real *p, uint32_t number)
{
    const uint32_t stride[3] = {size[1] * size[2], size[2], 1};
    dbi_crossed_edge e;
    e.a = number / 3;
    e.axis = number - 3 * e.a;
    e.b = e.a + DBI_OF_AXIS(stride, e.axis);
    e.t = dbi_crossing_f32(p[e.a], p[e.b]);
    e.change = (double)p[e.b] - (double)p[e.a];
    const uint32_t line = e.a / size[2], x = line / size[1];
    e.place[0] = x;
    e.place[1] = line - x * size[1];
    e.place[2] = e.a - line * size[2];
    DBI_OF_AXIS(e.place, e.axis) += e.t;
    return e;
}

/* The square root in the type of its argument: C has a name for each type, and no name that fits both. */
DBI_HD real dbi_root_f32(real x)
{
    return sizeof x == sizeof(double) ? (real)sqrt((double)x) : (real)sqrtf((float)x);
}

/* From the distance of the level set to the one that S stands for, the exact distance of the label p > 1/2: that one
 * goes on to the centre of the nearest voxel of the other side. Behind a plane, of one centre per unit volume, the
 * nearest one adds e with a probability density that gives a mean of about 1 / (2 sqrt(d)) (the cap that a sphere of
 * radius d + e cuts off holds pi d e^2 centres on average), and 1/2 right behind it. A steep ramp makes S continuous
 * across the surface. On blurred left-atrium labels this halves the error of adding 1/2 everywhere. */
DBI_HD real dbi_to_centre_f32(real d)
{
    const real near = d < (real)0.25 ? 2 * d : (real)0.5, far = (real)0.5 / dbi_root_f32(d);
    return d < 1 ? near : far;
}

/* S of a voxel, d from its foot. */
DBI_HD real dbi_levelset_value_f32(real p, real d)
{
    const real away = d + dbi_to_centre_f32(d);
    return dbi_inside_f32(p) ? away : -away;
}

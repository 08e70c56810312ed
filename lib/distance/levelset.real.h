/* s = signed distance of every voxel to the nearest foot, in voxels, +-INFINITY where there is no foot (within `limit`, 0: anywhere). Feet are the
 * points of the grid's edges where p, linear along the edge, passes 1/2. foot[x]: the edge of x's foot (distance/feet.h), DBI_NO_EDGE: none. All
 * [X,Y,Z]. */
int R(dbi_levelset)(const int64_t shape[3], const real *p, double limit, real *s, uint32_t *foot, dbi_error *error);
/* dp += the gradient, given g = the loss's derivative by s, and the p and the feet of the forward pass. */
int R(dbi_levelset_gradient)(const int64_t shape[3], const real *p, const uint32_t *foot, const real *g, real *dp, dbi_error *error);

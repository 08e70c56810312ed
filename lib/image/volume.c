#include "image/volume.h"

#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "image/grid_json.h"
#include "record/metadata.h"

void dbi_grid_spacing(const dbi_grid *grid, double spacing[3])
{
    for (int a = 0; a < 3; a++)
        spacing[a] = sqrt(grid->affine[0][a] * grid->affine[0][a] + grid->affine[1][a] * grid->affine[1][a] +
                          grid->affine[2][a] * grid->affine[2][a]);
}

int dbi_grid_check(const dbi_grid *grid, dbi_error *error)
{
    int64_t count;
    const int64_t *n = grid->shape;
    if (n[0] < 1 || n[1] < 1 || n[2] < 1 || !dbi_count(n, 3, &count) || count > INT64_MAX / 8)
        return dbi_fail(error, "impossible shape %" PRId64 " x %" PRId64 " x %" PRId64, n[0], n[1], n[2]);
    const double(*m)[4] = grid->affine;
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < 4; j++)
            if (!isfinite(m[i][j]))
                return dbi_fail(error, "the affine has a value that is not finite");
    double spacing[3];
    dbi_grid_spacing(grid, spacing);
    double det = m[0][0] * (m[1][1] * m[2][2] - m[1][2] * m[2][1]) - m[0][1] * (m[1][0] * m[2][2] - m[1][2] * m[2][0]) +
                 m[0][2] * (m[1][0] * m[2][1] - m[1][1] * m[2][0]);
    double size = spacing[0] * spacing[1] * spacing[2];
    if (!(size > 0) || !isfinite(size) || !(fabs(det) > 1e-6 * size))
        return dbi_fail(error, "the affine is singular");
    for (int a = 0; a < 3; a++)
        if (!(spacing[a] >= DBI_LEAST_SPACING && spacing[a] <= DBI_MOST_SPACING))
            return dbi_fail(error, "the spacing along axis %d is %g mm, beyond what a scan can have", a, spacing[a]);
    return 0;
}

int dbi_grid_same(const dbi_grid *a, const dbi_grid *b, dbi_error *error)
{
    if (memcmp(a->shape, b->shape, sizeof a->shape))
        return dbi_fail(error,
                        "%" PRId64 " x %" PRId64 " x %" PRId64 " voxels, not %" PRId64 " x %" PRId64 " x %" PRId64,
                        b->shape[0], b->shape[1], b->shape[2], a->shape[0], a->shape[1], a->shape[2]);
    double spacing[3], farthest = 0;
    dbi_grid_spacing(a, spacing);
    for (int corner = 0; corner < 8; corner++) {
        double square = 0;
        for (int i = 0; i < 3; i++) {
            double d = a->affine[i][3] - b->affine[i][3];
            for (int j = 0; j < 3; j++)
                if (corner >> j & 1)
                    d += (a->affine[i][j] - b->affine[i][j]) * (double)(a->shape[j] - 1);
            square += d * d;
        }
        farthest = fmax(farthest, sqrt(square));
    }
    if (farthest > 0.02 * fmin(spacing[0], fmin(spacing[1], spacing[2])))
        return dbi_fail(error, "the affines differ: corners are up to %.4g mm apart", farthest);
    return 0;
}

int dbi_grid_set(dbi_record *record, const dbi_grid *grid, dbi_error *error)
{
    double spacing[3];
    dbi_grid_spacing(grid, spacing);
    json_t *affine = dbi_affine_json(grid->affine);
    int result = affine ? dbi_meta_set_json(record, "affine", affine, error) : dbi_fail(error, "out of memory");
    json_decref(affine);
    return result ? result : dbi_meta_set_numbers(record, "spacing", spacing, 3, error);
}

int dbi_volume_new(dbi_volume *volume, const dbi_grid *grid, int64_t channels, dbi_dtype dtype, dbi_error *error)
{
    int64_t count;
    *volume = (dbi_volume){.grid = *grid, .channels = channels, .dtype = dtype};
    if (!dbi_count((int64_t[]){channels, grid->shape[0], grid->shape[1], grid->shape[2]}, 4, &count))
        return dbi_fail(error, "a volume beyond this machine");
    volume->data = dbi_alloc((size_t)count, dbi_dtype_size(dtype), error);
    return volume->data ? 0 : -1;
}

void dbi_volume_free(dbi_volume *volume)
{
    free(volume->data);
    volume->data = NULL;
}

#include "image/orient.h"

#include <math.h>
#include <string.h>

void dbi_orientation_find(const dbi_grid *grid, dbi_orientation *orientation)
{
    static const int permutations[6][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
    double spacing[3], best = -1;
    dbi_grid_spacing(grid, spacing);
    for (int p = 0; p < 6; p++) {
        double sum = 0;
        for (int a = 0; a < 3; a++)
            sum += fabs(grid->affine[a][permutations[p][a]]) / spacing[permutations[p][a]];
        if (sum > best * (1 + 1e-9)) { /* of two that are equally near, the first */
            best = sum;
            memcpy(orientation->axis, permutations[p], sizeof orientation->axis);
        }
    }
    for (int a = 0; a < 3; a++)
        orientation->flip[a] = grid->affine[a][orientation->axis[a]] < 0;
}

void dbi_orientation_grid(const dbi_orientation *orientation, const dbi_grid *from, dbi_grid *to)
{
    dbi_grid turned = *from;
    for (int a = 0; a < 3; a++) {
        int source = orientation->axis[a];
        turned.shape[a] = from->shape[source];
        for (int i = 0; i < 3; i++) {
            turned.affine[i][a] = orientation->flip[a] ? -from->affine[i][source] : from->affine[i][source];
            if (orientation->flip[a])
                turned.affine[i][3] += from->affine[i][source] * (double)(from->shape[source] - 1);
        }
    }
    *to = turned;
}

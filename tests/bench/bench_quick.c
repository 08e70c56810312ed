/* A guard against regressions: bench_quick TABLE [ROUNDS]
 * Times each kernel of note, small, on one thread, as a ratio to a loop that measures the machine and runs beside it,
 * and compares the ratio with the one that TABLE has for these vectors. More than MARGIN times it: failed. Prints a
 * line a kernel and at the end "N passed, N failed"; exit status 1 when one failed. Processor time, not the clock, and
 * the least of ROUNDS (default 9) are taken, so that a busy machine does not matter.
 *   bench_quick --record [ROUNDS]             the table's lines, measured here
 * The table's lines are "KERNEL VECTORS REFERENCE RATIO", # begins a comment. */
#include "cohort/phantom.h"
#include "reference.h"
#include "works.h"

/* A kernel that takes twice its time fails on the machine of the table, and one at 1.5 times passes: processors differ
 * by that. */
static const double margin = 1.6;

typedef enum reference_kind { MULTIPLY, SCALAR, REFERENCES } reference_kind;
static const char *const reference_names[REFERENCES] = {"multiply", "scalar"};

/* PATH stands for a case made for this. */
static const struct {
    const char *name, *work, *argv[6];
    reference_kind reference;
} kernels[] = {
    {"step-16-filters", "step", {"supervised", "32x32x32", "2", "2", "16"}, MULTIPLY},
    {"step-8-filters", "step", {"supervised", "32x32x32", "2", "2", "8"}, MULTIPLY},
    {"step-dbisl", "step", {"dbisl", "32x32x32", "2", "1", "8"}, MULTIPLY},
    {"inference", "infer", {"48x48x32", "16"}, MULTIPLY},
    {"signed-distance", "sdf", {"PATH"}, SCALAR},
    {"levelset", "levelset", {"PATH", "48x48x48"}, SCALAR},
    {"scores", "score", {"PATH"}, SCALAR},
    {"reading", "read", {"PATH"}, SCALAR},
};
enum { KERNELS = sizeof kernels / sizeof *kernels };

static double cpu_clock(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Table look-ups at addresses, and branches on values, that cannot be foreseen, as in envelopes, order statistics and
 * decompression. */
static float scalar_loop(void)
{
    enum { ENTRIES = 1 << 12 };
    static uint32_t table[ENTRIES];
    uint32_t s = 1, sum = 0;
    for (int i = 0; i < ENTRIES; i++)
        table[i] = s = s * 1664525 + 1013904223;
    for (int i = 0; i < 400000; i++) {
        s = s * 1664525 + 1013904223;
        const uint32_t v = table[(s ^ sum) >> 20];
        if (v & 1 << 30)
            table[v >> 20] = sum + v;
        sum += v ^ s;
    }
    return (float)sum;
}

static void reference_once(reference_kind kind)
{
    if (kind == MULTIPLY)
        use(fma_loop(vector_floats(), 500000));
    else
        use(scalar_loop());
}

static double ratio_of(int kernel, const char *path, int rounds)
{
    const bench_work *work = bench_find(kernels[kernel].work);
    const reference_kind kind = kernels[kernel].reference;
    double best = INFINITY, reference = INFINITY;
    char *argv[7] = {NULL};
    for (int i = 0; i < 6 && kernels[kernel].argv[i]; i++)
        argv[i] = (char *)(uintptr_t)(strcmp(kernels[kernel].argv[i], "PATH") ? kernels[kernel].argv[i] : path);
    void *context = work->open(argv);
    work->once(context);
    reference_once(kind);
    for (int i = 0; i < rounds; i++) {
        const double start = cpu_clock();
        reference_once(kind);
        const double between = cpu_clock();
        work->once(context);
        const double end = cpu_clock();
        reference = fmin(reference, between - start);
        best = fmin(best, end - between);
    }
    return best / reference;
}

/* The expected ratio, 0 where the table has none. */
static double expected(FILE *table, const char *kernel)
{
    char line[256], name[64], vectors[64], reference[64];
    double ratio, found = 0;
    rewind(table);
    while (fgets(line, sizeof line, table))
        if (*line != '#' && sscanf(line, "%63s %63s %63s %lf", name, vectors, reference, &ratio) == 4 &&
            !strcmp(name, kernel) && !strcmp(vectors, vector_name()))
            found = ratio;
    return found;
}

static void make_case(const char *path)
{
    dbi_phantom_settings settings = dbi_phantom_defaults();
    dbi_phantom phantom;
    settings.size = 80;
    dbi_record *record = dbi_record_new(&error);
    if (!record || dbi_phantom_make(&settings, 1, &phantom, &error))
        die(error.text);
    const int64_t *n = phantom.label.grid.shape, shape[] = {1, n[0], n[1], n[2]};
    dbi_tensor *image = dbi_record_add(record, "image", DBI_F32, 4, shape, &error),
               *label = dbi_record_add(record, "label", DBI_U8, 3, n, &error);
    if (!image || !label)
        die(error.text);
    memcpy(image->data, phantom.image[0].data, sizeof(float) * image->count);
    memcpy(label->data, phantom.label.data, label->count);
    const dbi_compression compression = {.level = 0};
    must(dbi_record_save(record, path, &compression, &error));
    dbi_record_free(record);
    dbi_phantom_free(&phantom);
}

int main(int argc, char **argv)
{
    const bool record = argc > 1 && !strcmp(argv[1], "--record");
    const int rounds = argc > 2 ? atoi(argv[2]) : 9;
    const char *folder = getenv("TMPDIR");
    char path[4096];
    int passed = 0, failed = 0;
    FILE *table = record || argc < 2 ? NULL : fopen(argv[1], "r");
    if (rounds < 1 || (!record && !table))
        die("usage: bench_quick TABLE|--record [ROUNDS]");
    omp_set_num_threads(1);
    snprintf(path, sizeof path, "%s/dbisl-quick.%ld.st.zst", folder ? folder : "/tmp", (long)getpid());
    make_case(path);
    for (int k = 0; k < KERNELS; k++) {
        const double wanted = record ? 0 : expected(table, kernels[k].name), ratio = ratio_of(k, path, rounds);
        const char *reference = reference_names[kernels[k].reference];
        if (record) {
            printf("%-16s %-8s %-9s %.4g\n", kernels[k].name, vector_name(), reference, ratio);
        } else if (wanted <= 0) {
            printf("%-16s %8.3f times %s; nothing recorded for %s\n", kernels[k].name, ratio, reference, vector_name());
        } else {
            const bool slow = ratio > margin * wanted;
            printf("%-16s %8.3f times %-8s, %.2f of what is recorded%s\n", kernels[k].name, ratio, reference,
                   ratio / wanted,
                   slow                      ? ": SLOWER"
                   : ratio * margin < wanted ? ": faster; record it anew"
                                             : "");
            slow ? failed++ : passed++;
        }
        fflush(stdout);
    }
    remove(path);
    if (!record)
        printf("%d passed, %d failed\n", passed, failed);
    return failed > 0 || (!record && passed == 0);
}

#include "warps.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

#include "cuda/cuda.h"
#include "emulated.h"

enum { MOST_THREADS = 1024, MOST_COPIES = 512, STACK = 256 << 10 };

size_t dbi_emulated_shared = 227 << 10;
int dbi_emulated_processors = 2, dbi_emulated_resident = 1;
int64_t dbi_emulated_loads, dbi_emulated_conflicts;
dbi_index dbi_thread_index, dbi_block_index, dbi_block_extent, dbi_grid_extent;

typedef struct copy {
    uint32_t to;
    const void *from;
    int group;
} copy;

typedef struct coroutine {
    ucontext_t begin;
    void *here[5]; /* where it goes on: the compiler's own jumps are far faster than contexts, and sanitizers do not
                      follow them to another stack */
    bool begun;
    const int64_t *turn; /* waits until this is no longer `seen`; NULL: it does not wait */
    int64_t seen;
    bool done;
    int copies, group; /* of asynchronous copies: those under way, and which group is being put together */
    copy copy[MOST_COPIES];
} coroutine;

typedef struct warp {
    dbi_warp_operation operation;
    void *slot[DBI_WARP];
    int arrived;
    int64_t turn; /* operations done */
} warp;

static coroutine *coroutines;
static unsigned char *stacks, *shared_memory;
static size_t shared_bytes;
static warp warps[MOST_THREADS / DBI_WARP];
static int threads, running, arrived;
static int64_t turn; /* barriers passed */
static void *launcher[5];
static void (*the_kernel)(const void *);
static const void *the_arguments;

static _Noreturn __attribute__((format(printf, 1, 2))) void wrong(const char *format, ...)
{
    va_list list;
    va_start(list, format);
    fprintf(stderr, "block %u, thread %d: ", dbi_block_index.x, running);
    vfprintf(stderr, format, list);
    fputc('\n', stderr);
    va_end(list);
    abort();
}

/* ---- Coroutines ---- */

#define JUMPS __attribute__((noinline, no_sanitize("address", "undefined")))

static bool ready(const coroutine *c)
{
    return !c->done && (!c->turn || *c->turn != c->seen);
}

/* The next one that can go on: of the same warp, then of the others. -1: all are done. */
static int next_one(void)
{
    const int step = dbi_emulated_backwards ? -1 : 1, all = threads / DBI_WARP, own = running / DBI_WARP;
    bool waits = false;
    for (int w = 0; w < all; w++) {
        const int first = (own + step * w + all) % all * DBI_WARP;
        for (int l = 0; l < DBI_WARP; l++) {
            const int i = first + (running + step * (l + 1) + DBI_WARP) % DBI_WARP;
            if (ready(&coroutines[i]))
                return i;
            waits = waits || !coroutines[i].done;
        }
    }
    if (waits)
        wrong(
            "what is not done waits for ever: a barrier, or an operation of a warp, that some threads do not come to");
    return -1;
}

static _Noreturn JUMPS void go_on(int next)
{
    coroutine *const c = &coroutines[next];
    running = next;
    dbi_thread_index.x = (unsigned)next;
    if (c->begun)
        __builtin_longjmp(c->here, 1);
    c->begun = true;
    setcontext(&c->begin);
    abort();
}

static JUMPS void wait_for(const int64_t *until)
{
    coroutine *const me = &coroutines[running];
    me->turn = until;
    me->seen = *until;
    const int next = next_one();
    if (next != running && !__builtin_setjmp(me->here))
        go_on(next);
    me->turn = NULL;
}

static JUMPS void run_kernel(void)
{
    the_kernel(the_arguments);
    coroutine *const me = &coroutines[running];
    if (me->copies)
        wrong("asynchronous copies are under way at the end");
    me->done = true;
    const int next = next_one();
    if (next >= 0)
        go_on(next);
    __builtin_longjmp(launcher, 1);
}

static void *map(size_t bytes)
{
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) {
        perror("mmap");
        abort();
    }
    return p;
}

static void begin_block(void)
{
    memset(shared_memory, 0xff, shared_bytes);
    memset(warps, 0, sizeof warps);
    arrived = 0;
    for (int t = 0; t < threads; t++) {
        coroutine *const c = &coroutines[t];
        c->turn = NULL;
        c->begun = c->done = false;
        c->copies = c->group = 0;
        getcontext(&c->begin);
        c->begin.uc_stack.ss_sp = stacks + (size_t)t * STACK;
        c->begin.uc_stack.ss_size = STACK;
        c->begin.uc_link = NULL;
        makecontext(&c->begin, run_kernel, 0);
    }
}

static JUMPS void run_block(void)
{
    begin_block();
    if (!__builtin_setjmp(launcher))
        go_on(dbi_emulated_backwards ? threads - 1 : 0);
}

void dbi_warps_launch(void (*kernel)(const void *), const void *arguments, unsigned blocks, unsigned block_threads,
                      size_t shared)
{
    dbi_emulated_finish(); /* what was given to streams before */
    if (!coroutines) {
        coroutines = map(MOST_THREADS * sizeof *coroutines);
        stacks = map((size_t)MOST_THREADS * STACK);
    }
    the_kernel = kernel;
    the_arguments = arguments;
    threads = (int)block_threads;
    if (block_threads < 1 || block_threads > MOST_THREADS || block_threads % DBI_WARP || blocks < 1 ||
        shared > dbi_emulated_shared)
        wrong("a launch of %u blocks of %u threads, %zu bytes of shared memory", blocks, block_threads, shared);
    /* An allocation of just this size, so that AddressSanitizer sees what leaves it. */
    if (posix_memalign((void **)&shared_memory, 128, shared ? shared : 1))
        abort();
    shared_bytes = shared;
    dbi_block_extent = (dbi_index){block_threads, 1, 1};
    dbi_grid_extent = (dbi_index){blocks, 1, 1};
    for (unsigned b = 0; b < blocks; b++) {
        dbi_block_index.x = dbi_emulated_backwards ? blocks - 1 - b : b;
        run_block();
    }
    free(shared_memory);
}

/* ---- Waiting for others ---- */

void dbi_block_barrier(void)
{
    if (++arrived < threads) {
        wait_for(&turn);
    } else {
        arrived = 0;
        turn++;
    }
}

void dbi_warp_meet(dbi_warp_operation operation, void *slot)
{
    warp *const w = &warps[running / DBI_WARP];
    if (w->arrived && w->operation != operation)
        wrong("the threads of a warp come to different operations");
    w->operation = operation;
    w->slot[running % DBI_WARP] = slot;
    if (++w->arrived < DBI_WARP) {
        wait_for(&w->turn);
    } else {
        operation(w->slot);
        w->arrived = 0;
        w->turn++;
    }
}

/* ---- Shared memory ---- */

unsigned char *dbi_shared_memory(void)
{
    return shared_memory;
}

uint32_t dbi_shared_address(const void *p)
{
    return (uint32_t)((const unsigned char *)p - shared_memory);
}

void *dbi_shared_at(uint32_t address, size_t bytes)
{
    if (address % bytes || address > shared_bytes || shared_bytes - address < bytes)
        wrong("%zu bytes at %u of %zu of shared memory", bytes, address, shared_bytes);
    return shared_memory + address;
}

void dbi_copy_start(uint32_t to, const void *from)
{
    coroutine *const me = &coroutines[running];
    if (me->copies == MOST_COPIES)
        wrong("more than %d asynchronous copies", MOST_COPIES);
    if ((uintptr_t)from % 16)
        wrong("an asynchronous copy from %p, which is not aligned", from);
    memset(dbi_shared_at(to, 16), 0xff, 16);
    me->copy[me->copies++] = (copy){to, from, me->group};
}

void dbi_copy_commit(void)
{
    coroutines[running].group++;
}

void dbi_copy_wait(int left)
{
    coroutine *const me = &coroutines[running];
    int kept = 0;
    for (int i = 0; i < me->copies; i++) {
        const copy *const c = &me->copy[i];
        if (c->group >= me->group - left)
            me->copy[kept++] = *c;
        else if (c->from)
            memcpy(dbi_shared_at(c->to, 16), c->from, 16);
        else
            memset(dbi_shared_at(c->to, 16), 0, 16);
    }
    me->copies = kept;
}

/* ---- Matrices ---- */

typedef struct loading {
    int count;
    bool transposed;
    uint32_t address, *r;
} loading;

static void load_all(void *const slot[DBI_WARP])
{
    const loading *const first = slot[0];
    for (int m = 0; m < first->count; m++) {
        uint16_t row[8][8];
        unsigned places = 0;
        for (int i = 0; i < 8; i++) {
            const uint32_t address = ((const loading *)slot[m * 8 + i])->address;
            memcpy(row[i], dbi_shared_at(address, 16), 16);
            places |= 1u << address / 16 % 8; /* 16 bytes: four of the 32 banks */
        }
        dbi_emulated_loads++;
        dbi_emulated_conflicts += places != 255;
        for (int l = 0; l < DBI_WARP; l++) {
            const loading *const mine = slot[l];
            const int a = l / 4, b = l % 4 * 2;
            mine->r[m] = mine->transposed ? row[b][a] | (uint32_t)row[b + 1][a] << 16
                                          : row[a][b] | (uint32_t)row[a][b + 1] << 16;
        }
    }
}

void dbi_load_matrices(int count, bool transposed, uint32_t *r, uint32_t address)
{
    loading mine = {count, transposed, address, r};
    dbi_warp_meet(load_all, &mine);
}

typedef struct product {
    int depth;
    float *c;
    const uint32_t *a, *b;
} product;

/* The two values of a word, side by side or one below the other. */
static void put_two(float *to, int apart, uint32_t word)
{
    to[0] = dbi_bf16_to_float((dbi_bf16){(uint16_t)word});
    to[apart] = dbi_bf16_to_float((dbi_bf16){(uint16_t)(word >> 16)});
}

static void multiply_all(void *const slot[DBI_WARP])
{
    const int depth = ((const product *)slot[0])->depth;
    float a[16][16], b[16][8], c[16][8];
    for (int l = 0; l < DBI_WARP; l++) {
        const product *const mine = slot[l];
        const int row = l / 4, at = l % 4 * 2;
        for (int part = 0; part < depth / 8; part++) {
            put_two(&a[row][8 * part + at], 1, mine->a[2 * part]);
            put_two(&a[row + 8][8 * part + at], 1, mine->a[2 * part + 1]);
            put_two(&b[8 * part + at][row], 8, mine->b[part]);
        }
        memcpy(&c[row][at], mine->c, 8);
        memcpy(&c[row + 8][at], mine->c + 2, 8);
    }
    for (int row = 0; row < 16; row++)
        for (int k = 0; k < depth; k++)
            for (int column = 0; column < 8; column++)
                c[row][column] += a[row][k] * b[k][column];
    for (int l = 0; l < DBI_WARP; l++) {
        const product *const mine = slot[l];
        memcpy(mine->c, &c[l / 4][l % 4 * 2], 8);
        memcpy(mine->c + 2, &c[l / 4 + 8][l % 4 * 2], 8);
    }
}

void dbi_multiply(int depth, float c[4], const uint32_t *a, const uint32_t *b)
{
    product mine = {depth, c, a, b};
    dbi_warp_meet(multiply_all, &mine);
}

typedef struct shuffling {
    int mask;
    float value, got;
} shuffling;

static void shuffle_all(void *const slot[DBI_WARP])
{
    for (int l = 0; l < DBI_WARP; l++) {
        shuffling *const mine = slot[l];
        mine->got = ((const shuffling *)slot[l ^ mine->mask])->value;
    }
}

float dbi_shuffle_xor(float value, int mask)
{
    shuffling mine = {mask, value, 0};
    dbi_warp_meet(shuffle_all, &mine);
    return mine.got;
}

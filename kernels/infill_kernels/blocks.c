/* A pass of a decoder's blocks over a few rows, in one thread: see blocks.py, which compiles this
   for the CPU it runs on and checks what it is given.

   Everything that multiplies is one routine, `product`: bfloat16 times bfloat16, summed in float32.
   Weights stand as [O / 16][I / 32][16][16][2], which is what a tile of AMX reads, and what
   vectors of any other CPU can be taken from by a shift and a mask. Keys, queries, probabilities
   and values are brought into the same form, so attention is two products.

   All widths are multiples of 32. M rows of all, padded with zeros to a multiple of ROWS. */

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if defined(__AMX_BF16__) && defined(__linux__)
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>
#define TILES 1
#endif

#define LANES 16
#ifdef TILES
#define ROWS 16 /* that `product` does at a time */
#else
#define ROWS 4
#endif
#ifdef __AVX512F__
#define WIDTH 16 /* floats of a register */
#elif defined(__AVX__)
#define WIDTH 8
#else
#define WIDTH 4
#endif
#define PARTS (LANES / WIDTH)
#define EPSILON 1e-6f
#define LINE 64 /* bytes of a cache line */

typedef uint16_t bf16;
typedef float vec __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef int32_t ints __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef uint32_t bits __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef bf16 halves __attribute__((vector_size(2 * LANES), aligned(2), may_alias));

typedef float part __attribute__((vector_size(4 * WIDTH), aligned(4), may_alias));
typedef uint32_t words __attribute__((vector_size(4 * WIDTH), aligned(4), may_alias));

typedef struct {
    int64_t layers, width, kv, group, head, ff;
} Shape;

typedef struct {
    bf16 *keys, *values;         /* [layers][rows][kv][N][head], the last two dense */
    int64_t layer, row, kv_head; /* strides in elements, the same for both */
} Cache;

static int64_t tiled(int64_t n, int64_t tile) { return (n + tile - 1) / tile * tile; }

static inline vec spread(float x) { return (vec){0} + x; }

static inline halves rounded(vec x) { /* to nearest, ties to even */
    bits u = (bits)x;
    return __builtin_convertvector((u + 0x7fff + ((u >> 16) & 1)) >> 16, halves);
}

static inline vec exponential(vec x) { /* x <= 88; below -87 it is 0 */
    vec t = x * 1.44269504f;
    vec whole = (t + 12582912.0f) - 12582912.0f; /* 1.5 * 2^23: what is behind the point is gone */
    vec part = (t - whole) * 0.69314718f;
    vec sum = spread(1.0f / 720);
    sum = sum * part + 1.0f / 120;
    sum = sum * part + 1.0f / 24;
    sum = sum * part + 1.0f / 6;
    sum = sum * part + 0.5f;
    sum = sum * part + 1.0f;
    sum = sum * part + 1.0f;
    ints scale = (__builtin_convertvector(whole, ints) + 127) << 23;
    return (vec)((ints)(sum * (vec)scale) & (x > -87.0f));
}

static inline vec chosen(ints condition, vec yes, vec no) {
    return (vec)(((ints)yes & condition) | ((ints)no & ~condition));
}

static inline float total(vec x) {
    float sum = 0;
    for (int i = 0; i < LANES; i++) sum += x[i];
    return sum;
}

typedef struct {
    char *memory;
    int64_t size;
} Scratch;

static int reserve(Scratch *scratch, int64_t size) { /* what it held is lost when it grows */
    if (size <= scratch->size) return 1;
    free(scratch->memory);
    scratch->memory = aligned_alloc(LINE, (size + LINE - 1) / LINE * LINE);
    scratch->size = scratch->memory ? size : 0;
    return scratch->memory != NULL;
}

/* x [rows][I] times w [O][I] gives y [rows][O], or is added to it. `rows` is a multiple of
   ROWS; `panel` is from one 16 of O to the next, `stride` from one row of y to the next. */
#ifdef TILES

/* To GCC what loads a tile reads no memory: what was written before has to be there. */
static inline void stored(void) { __asm__ volatile("" ::: "memory"); }

static void configure(void) {
    struct {
        uint8_t palette, start, reserved[14];
        uint16_t columns[16];
        uint8_t rows[16];
    } __attribute__((packed)) tiles = {.palette = 1};
    for (int i = 0; i < 8; i++) tiles.columns[i] = 64, tiles.rows[i] = 16;
    stored();
    _tile_loadconfig(&tiles);
}

/* One or two tiles of rows by one or two panels of weights; the flags are known when compiled. */
static inline __attribute__((always_inline)) void tile(const bf16 *x, const bf16 *w, int64_t panel,
                                                       float *y, int64_t stride, int64_t I,
                                                       int add, int tall, int wide) {
    float *below = y + 16 * stride;
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    if (add) {
        _tile_loadd(0, y, 4 * stride);
        if (wide) _tile_loadd(1, y + 16, 4 * stride);
        if (tall) _tile_loadd(2, below, 4 * stride);
        if (tall && wide) _tile_loadd(3, below + 16, 4 * stride);
    }
    for (int64_t i = 0; i < I; i += 32) {
        _tile_loadd(4, x + i, 2 * I);
        _tile_loadd(6, w + 16 * i, 64);
        _tile_dpbf16ps(0, 4, 6);
        if (tall) _tile_loadd(5, x + 16 * I + i, 2 * I);
        if (tall) _tile_dpbf16ps(2, 5, 6);
        if (wide) _tile_loadd(7, w + panel + 16 * i, 64);
        if (wide) _tile_dpbf16ps(1, 4, 7);
        if (tall && wide) _tile_dpbf16ps(3, 5, 7);
    }
    _tile_stored(0, y, 4 * stride);
    if (wide) _tile_stored(1, y + 16, 4 * stride);
    if (tall) _tile_stored(2, below, 4 * stride);
    if (tall && wide) _tile_stored(3, below + 16, 4 * stride);
}

static void product(const bf16 *x, int64_t rows, const bf16 *w, int64_t panel, float *y,
                    int64_t stride, int64_t O, int64_t I, int add) {
    stored();
    for (int64_t o = 0; o < O; o += 32, w += 2 * panel)
        for (int64_t m = 0; m < rows; m += 32) {
            const bf16 *row = x + m * I;
            float *at = y + m * stride + o;
            if (m + 16 < rows && o + 16 < O)
                tile(row, w, panel, at, stride, I, add, 1, 1);
            else if (m + 16 < rows)
                tile(row, w, panel, at, stride, I, add, 1, 0);
            else if (o + 16 < O)
                tile(row, w, panel, at, stride, I, add, 0, 1);
            else
                tile(row, w, panel, at, stride, I, add, 0, 0);
        }
    stored();
}

#else

/* Four rows by one or two panels. x is in float32: a CPU multiplies by a number in memory without
   loading it first, but does not widen it on the way. */
static inline __attribute__((always_inline)) void strip(const float *x, const bf16 *w,
                                                        int64_t panel, float *y, int64_t stride,
                                                        int64_t I, int add, int panels) {
    part sum[4][2 * PARTS];
#pragma GCC unroll 4
    for (int r = 0; r < 4; r++)
#pragma GCC unroll 8
        for (int p = 0; p < panels * PARTS; p++)
            sum[r][p] = add ? *(part *)(y + r * stride + p * WIDTH) : (part){0};
    for (int64_t i = 0; i < I; i += 2)
#pragma GCC unroll 8
        for (int p = 0; p < panels * PARTS; p++) {
            const bf16 *at = w + p / PARTS * panel + 16 * i + p % PARTS * 2 * WIDTH;
            words weights = *(const words *)at;
            part first = (part)(weights << 16), second = (part)(weights & 0xffff0000u);
#pragma GCC unroll 4
            for (int r = 0; r < 4; r++) {
                sum[r][p] += x[r * I + i] * first;
                sum[r][p] += x[r * I + i + 1] * second;
            }
        }
#pragma GCC unroll 4
    for (int r = 0; r < 4; r++)
#pragma GCC unroll 8
        for (int p = 0; p < panels * PARTS; p++) *(part *)(y + r * stride + p * WIDTH) = sum[r][p];
}

static _Thread_local Scratch widened;

static void product(const bf16 *x, int64_t rows, const bf16 *w, int64_t panel, float *y,
                    int64_t stride, int64_t O, int64_t I, int add) {
    if (!reserve(&widened, 4 * rows * I)) abort();
    float *wide = (float *)widened.memory;
    for (int64_t i = 0; i < rows * I; i += LANES)
        *(bits *)(wide + i) = __builtin_convertvector(*(const halves *)(x + i), bits) << 16;
    int64_t o = 0;
    for (; WIDTH == 16 && o + 16 < O; o += 32, w += 2 * panel)
        for (int64_t m = 0; m < rows; m += 4)
            strip(wide + m * I, w, panel, y + m * stride + o, stride, I, add, 2);
    for (; o < O; o += 16, w += panel)
        for (int64_t m = 0; m < rows; m += 4)
            strip(wide + m * I, w, panel, y + m * stride + o, stride, I, add, 1);
}

#endif

static float inverse_norm(const float *x, int64_t n) {
    vec sum = {0};
    for (int64_t i = 0; i < n; i += LANES) sum += *(const vec *)(x + i) * *(const vec *)(x + i);
    return 1.0f / sqrtf(total(sum) / n + EPSILON);
}

static void normed(const float *x, int64_t rows, int64_t n, bf16 *y) {
    for (int64_t m = 0; m < rows; m++, x += n, y += n) {
        float inverse = inverse_norm(x, n);
        for (int64_t i = 0; i < n; i += LANES)
            *(halves *)(y + i) = rounded(*(const vec *)(x + i) * inverse);
    }
}

/* A head [E], normed and turned to its position, times `scale`. E / 2 is a multiple of 16. */
static void turned(const float *x, int64_t E, const float *cosine, const float *sine, float scale,
                   bf16 *y) {
    float factor = inverse_norm(x, E) * scale;
    for (int64_t i = 0; i < E / 2; i += LANES) {
        vec a = *(const vec *)(x + i) * factor, b = *(const vec *)(x + E / 2 + i) * factor;
        vec c = *(const vec *)(cosine + i), s = *(const vec *)(sine + i);
        *(halves *)(y + i) = rounded(a * c - b * s);
        *(halves *)(y + E / 2 + i) = rounded(b * c + a * s);
    }
}

/* Values [n][E], as weights of a product with probabilities [16][N]; what is behind n is 0. */
static void interleaved(const bf16 *values, int64_t n, int64_t N, int64_t E, uint32_t *packed) {
    static const bf16 none[LANES];
    for (int64_t e = 0; e < E; e += LANES)
        for (int64_t i = 0; i < N; i += 2, packed += LANES) {
            const bf16 *first = i < n ? values + i * E + e : none;
            const bf16 *second = i + 1 < n ? values + (i + 1) * E + e : none;
            bits pair = __builtin_convertvector(*(const halves *)first, bits);
            pair |= __builtin_convertvector(*(const halves *)second, bits) << 16;
            *(bits *)packed = pair;
        }
}

/* What up to 16 queries see of n keys: scores [n][16] become exponentials; returns their sums.
   Query i sees the first seen[i] keys. */
static vec softmax(float *scores, int64_t n, ints seen) {
    int64_t least = n;
    for (int i = 0; i < LANES; i++)
        if (seen[i] < least) least = seen[i];
    vec most = spread(-INFINITY), sum = {0};
    for (int64_t i = 0; i < n; i++) {
        vec *score = (vec *)(scores + i * LANES);
        if (i >= least)
            *score = chosen((ints){0} + (int32_t)i < seen, *score, spread(-INFINITY));
        most = chosen(*score > most, *score, most);
    }
    for (int64_t i = 0; i < n; i++) {
        vec *score = (vec *)(scores + i * LANES);
        *score = exponential(*score - most);
        sum += *score;
    }
    return sum;
}

/* [n][16] to rows [16][N] of bfloat16, in pairs; what is behind n is 0. */
static void transposed(const float *weights, int64_t n, int64_t N, uint32_t *pairs,
                       uint32_t *rows) {
    for (int64_t i = 0; i < N; i += 2) {
        vec first = i < n ? *(const vec *)(weights + i * LANES) : (vec){0};
        vec second = i + 1 < n ? *(const vec *)(weights + (i + 1) * LANES) : (vec){0};
        bits a = __builtin_convertvector(rounded(first), bits);
        bits b = __builtin_convertvector(rounded(second), bits);
        *(bits *)(pairs + i / 2 * LANES) = a | b << 16;
    }
    for (int64_t q = 0; q < LANES; q++)
        for (int64_t i = 0; i < N / 2; i++) rows[q * N / 2 + i] = pairs[i * LANES + q];
}

/* Keys and values of one head that some queries see, `all` of them, ready to be multiplied. */
typedef struct {
    const bf16 *keys;
    bf16 *last;       /* [16][E], the keys of the last tile, which is not whole */
    uint32_t *values; /* [E / 16][N / 2][16], as `interleaved` leaves them */
    int64_t all, N;
} Seen;

static void prepare(Seen *seen, const bf16 *keys, const bf16 *values, int64_t E) {
    int64_t whole = seen->all / 16 * 16, rest = seen->all - whole;
    seen->keys = keys;
    memcpy(seen->last, keys + whole * E, 2 * rest * E);
    memset(seen->last + rest * E, 0, 2 * (16 - rest) * E);
    interleaved(values, seen->all, seen->N, E, seen->values);
}

/* Scores [up to 15 more than count][16] of the first `count` keys. */
static void score(const Seen *seen, int64_t count, const uint32_t *query, float *scores,
                  int64_t E) {
    int64_t whole = seen->all / 16 * 16, direct = count <= whole ? tiled(count, 16) : whole;
    if (direct) product(seen->keys, direct, (const bf16 *)query, 0, scores, 16, 16, E, 0);
    if (direct < count)
        product(seen->last, 16, (const bf16 *)query, 0, scores + 16 * whole, 16, 16, E, 0);
}

static _Thread_local Scratch scratch;

static void *take(char **at, int64_t bytes) {
    void *found = *at;
    *at += (bytes + LINE - 1) / LINE * LINE;
    return found;
}

/* Whether this thread may use what was compiled in. */
int infill_ready(void) {
#ifdef TILES
    enum { ARCH_REQ_XCOMP_PERM = 0x1023, XFEATURE_XTILEDATA = 18 };
    return syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0;
#else
    return 1;
#endif
}

/* x [rows][I] float32 times packed w [O][I]: y [rows][O]. 0 where there is no memory. */
int infill_product(const float *x, int64_t rows, const bf16 *w, float *y, int64_t O, int64_t I) {
    int64_t M = tiled(rows, ROWS);
    if (!reserve(&scratch, 2 * M * I + 4 * M * O + 2 * LINE)) return 0;
    char *at = scratch.memory;
    bf16 *input = take(&at, 2 * M * I);
    float *output = rows == M ? y : take(&at, 4 * M * O);
    memset(input + rows * I, 0, 2 * (M - rows) * I);
    for (int64_t i = 0; i < rows * I; i += LANES)
        *(halves *)(input + i) = rounded(*(const vec *)(x + i));
#ifdef TILES
    configure();
#endif
    product(input, M, w, 16 * I, output, O, O, I, 0);
#ifdef TILES
    _tile_release();
#endif
    if (output != y) memcpy(y, output, 4 * rows * O);
    return 1;
}

/* x [rows][n][width] float32 through all blocks, and normed, in place. Token i of a row stands at
   `at` + i of its cache, where its key and value are put; it sees the first `seen` places there, or,
   where `seen` is 0, those up to its own, and before them the first `count` of what is shared by
   all rows. cosine, sine [n][head / 2]; weights are qkv, out, up and down of each layer. 0 where
   there is no memory. */
int infill_blocks(const Shape *shape, const bf16 *weights, float *x, int64_t rows, int64_t n,
                  const float *cosine, const float *sine, const Cache *shared, int64_t count,
                  const Cache *cache, int64_t at, int64_t seen) {
    const int64_t D = shape->width, K = shape->kv, G = shape->group, E = shape->head;
    const int64_t F = shape->ff, Q = K * (G + 2) * E, R = rows * n, M = tiled(R, ROWS);
    const int64_t all = seen ? seen : at + n, blocks = tiled(n * G, 16) / 16;
    Seen common = {.all = count, .N = tiled(count, 32)}, own = {.all = all, .N = tiled(all, 32)};
    const int64_t N = common.N + own.N, places = tiled(count + all, 16) + 16;
    int64_t size = 4 * M * (D + Q + 2 * F) + 2 * M * (D + F) + 2 * R * K * G * E;
    size += 4 * 16 * places + 4 * 16 * N / 2 + 2 * 16 * N + 2 * E * N + 3 * 2 * 16 * E + 4 * 16 * E;
    if (!reserve(&scratch, size + 20 * LINE)) return 0;
    char *free_at = scratch.memory;
    float *state = take(&free_at, 4 * M * D), *mixed = take(&free_at, 4 * M * Q);
    float *raised = take(&free_at, 4 * M * 2 * F);
    bf16 *input = take(&free_at, 2 * M * D), *gated = take(&free_at, 2 * M * F);
    bf16 *queries = take(&free_at, 2 * R * K * G * E);
    float *scores = take(&free_at, 4 * 16 * places);
    uint32_t *pairs = take(&free_at, 4 * 16 * N / 2);
    uint32_t *probabilities = take(&free_at, 2 * 16 * N);
    uint32_t *query = take(&free_at, 2 * 16 * E);
    float *heard = take(&free_at, 4 * 16 * E);
    common.last = take(&free_at, 2 * 16 * E), own.last = take(&free_at, 2 * 16 * E);
    common.values = take(&free_at, 2 * E * common.N), own.values = take(&free_at, 2 * E * own.N);
    memcpy(state, x, 4 * R * D);
    memset(state + R * D, 0, 4 * (M - R) * D);
    memset(gated + R * F, 0, 2 * (M - R) * F);
    const float scale = 1.0f / sqrtf((float)E);
#ifdef TILES
    configure();
#endif
    for (int64_t layer = 0; layer < shape->layers; layer++) {
        const bf16 *qkv = weights, *out = qkv + Q * D, *up = out + D * D, *down = up + 2 * F * D;
        weights = down + D * F;
        normed(state, M, D, input);
        product(input, M, qkv, 16 * D, mixed, Q, Q, D, 0);
        for (int64_t h = 0; h < K; h++) {
            if (count) {
                int64_t base = layer * shared->layer + h * shared->kv_head;
                prepare(&common, shared->keys + base, shared->values + base, E);
            }
            for (int64_t b = 0; b < rows; b++) {
                int64_t base = layer * cache->layer + b * cache->row + h * cache->kv_head;
                bf16 *keys = cache->keys + base, *values = cache->values + base;
                for (int64_t i = 0; i < n; i++) {
                    const float *part = mixed + (b * n + i) * Q + h * (G + 2) * E;
                    const float *c = cosine + i * E / 2, *s = sine + i * E / 2;
                    bf16 *to = queries + ((b * n + i) * K + h) * G * E;
                    for (int64_t g = 0; g < G; g++)
                        turned(part + g * E, E, c, s, scale, to + g * E);
                    turned(part + G * E, E, c, s, 1.0f, keys + (at + i) * E);
                    for (int64_t e = 0; e < E; e += LANES)
                        *(halves *)(values + (at + i) * E + e) =
                            rounded(*(const vec *)(part + (G + 1) * E + e));
                }
                prepare(&own, keys, values, E);
                for (int64_t block = 0; block < blocks; block++) {
                    ints sight;
                    int64_t reach = 0; /* of its own row, nobody in this block sees further */
                    for (int64_t lane = 0; lane < LANES; lane++) {
                        int64_t q = block * LANES + lane, i = q / G;
                        const bf16 *from = queries + ((b * n + i) * K + h) * G * E + q % G * E;
                        for (int64_t e = 0; e < E / 2; e++) {
                            uint32_t pair = 0;
                            if (i < n) memcpy(&pair, from + 2 * e, 4);
                            query[e * LANES + lane] = pair;
                        }
                        /* Lanes without a query see what the last one sees. */
                        int64_t sees = seen ? seen : at + 1 + (i < n ? i : n - 1);
                        sight[lane] = (int32_t)(count + sees);
                        if (sees > reach) reach = sees;
                    }
                    int64_t near = tiled(reach, 32), lanes = n * G - block * LANES;
                    lanes = tiled(lanes < LANES ? lanes : LANES, ROWS);
                    score(&common, count, query, scores, E);
                    score(&own, reach, query, scores + LANES * count, E);
                    vec sum = softmax(scores, count + reach, sight);
                    if (count) {
                        transposed(scores, count, common.N, pairs, probabilities);
                        product((bf16 *)probabilities, lanes, (bf16 *)common.values, 16 * common.N,
                                heard, E, E, common.N, 0);
                    }
                    transposed(scores + LANES * count, reach, near, pairs, probabilities);
                    product((bf16 *)probabilities, lanes, (bf16 *)own.values, 16 * own.N, heard, E,
                            E, near, count > 0);
                    for (int64_t lane = 0; lane < LANES; lane++) {
                        int64_t q = block * LANES + lane, i = q / G;
                        if (i >= n) break;
                        bf16 *to = input + (b * n + i) * D + (h * G + q % G) * E;
                        float share = 1.0f / sum[lane];
                        for (int64_t e = 0; e < E; e += LANES)
                            *(halves *)(to + e) = rounded(*(vec *)(heard + lane * E + e) * share);
                    }
                }
            }
        }
        product(input, M, out, 16 * D, state, D, D, D, 1);
        normed(state, M, D, input);
        product(input, M, up, 16 * D, raised, 2 * F, 2 * F, D, 0);
        for (int64_t m = 0; m < R; m++)
            for (int64_t f = 0; f < F; f += LANES) {
                vec gate = *(vec *)(raised + m * 2 * F + f);
                vec value = *(vec *)(raised + m * 2 * F + F + f);
                vec below = chosen(-gate < 88.0f, -gate, spread(88.0f));
                *(halves *)(gated + m * F + f) = rounded(gate / (1.0f + exponential(below)) * value);
            }
        product(gated, M, down, 16 * F, state, D, D, F, 1);
    }
#ifdef TILES
    _tile_release();
#endif
    for (int64_t m = 0; m < R; m++) {
        float inverse = inverse_norm(state + m * D, D);
        for (int64_t i = 0; i < D; i += LANES)
            *(vec *)(x + m * D + i) = *(vec *)(state + m * D + i) * inverse;
    }
    return 1;
}

/* A pass of a decoder's blocks over a few rows, in one thread: see blocks.py, which compiles this
   for the CPU it runs on and checks what it is given.

   Everything that multiplies is one routine, `product`. Keys, queries, probabilities and values are
   brought into the form of its weights, so attention is two products.

   What is multiplied by the network's weights is bfloat16 too, but for CPUs with AVX2 alone: see
   integers.h.

   All widths are multiples of 32. M rows of all, padded with zeros to a multiple of GRAIN. */

#include "product.h"

#define EPSILON 1e-6f

typedef struct {
    int64_t layers, width, kv, group, head, ff;
} Shape;

typedef struct {
    bf16 *keys, *values;         /* [layers][rows][kv][N][head], the last two dense */
    int64_t layer, row, kv_head; /* strides in elements, the same for both */
} Cache;

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

/* What is multiplied by weights is kept in cells until then: as bfloat16, or where whole numbers
   are multiplied faster, as float32. */
#if defined(__AVX2__) && !defined(__AVX512F__)
#include "integers.h"
#define INTEGERS 1
#define GRAIN 1 /* rows are padded to a multiple of it */
#define PANEL(I) (16 * (I) + 32) /* numbers of 16 bits of 16 outputs */
typedef float cell;

static inline void put(cell *to, vec x) { *(vec *)to = x; }

#else
#define INTEGERS 0
#define GRAIN ROWS
#define PANEL(I) (16 * (I))
typedef bf16 cell;

static inline void put(cell *to, vec x) { *(halves *)to = rounded(x); }

static inline void multiply(const cell *x, int64_t rows, const bf16 *w, float *y, int64_t stride,
                            int64_t O, int64_t I, int add, bf16 *packed, float *scales) {
    (void)packed, (void)scales;
    product(x, rows, w, 16 * I, y, stride, O, I, add);
}

#endif

/* Whether weights are whole numbers with scales (see integers.h), or else bfloat16. */
int infill_integers(void) { return INTEGERS; }

static float inverse_norm(const float *x, int64_t n) {
    vec sum = {0};
    for (int64_t i = 0; i < n; i += LANES) sum += *(const vec *)(x + i) * *(const vec *)(x + i);
    return 1.0f / sqrtf(total(sum) / n + EPSILON);
}

static void normed(const float *x, int64_t rows, int64_t n, cell *y) {
    for (int64_t m = 0; m < rows; m++, x += n, y += n) {
        float inverse = inverse_norm(x, n);
        for (int64_t i = 0; i < n; i += LANES)
            put(y + i, *(const vec *)(x + i) * inverse);
    }
}

/* A head [E], normed and rotated to its position, times `scale`. E / 2 is a multiple of 16. */
static void rotated(const float *x, int64_t E, const float *cosine, const float *sine, float scale,
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

int infill_ready(void) { return ready(); }

/* x [rows][I] float32 times packed w [O][I]: y [rows][O]. 0 where there is no memory. */
int infill_product(const float *x, int64_t rows, const bf16 *w, float *y, int64_t O, int64_t I) {
    const int64_t M = tiled(rows, GRAIN), cells = M * I;
    if (!reserve(&scratch, (sizeof(cell) + 2) * cells + 4 * M * (O + 1) + 4 * LINE)) return 0;
    char *at = scratch.memory;
    cell *input = take(&at, sizeof(cell) * cells);
    bf16 *packed = take(&at, 2 * cells);
    float *scales = take(&at, 4 * M);
    float *output = rows == M ? y : take(&at, 4 * M * O);
    memset(input + rows * I, 0, sizeof(cell) * (M - rows) * I);
    for (int64_t i = 0; i < rows * I; i += LANES) put(input + i, *(const vec *)(x + i));
    if (!start_products(M * I)) return 0;
    multiply(input, M, (const void *)w, output, O, O, I, 0, (void *)packed, scales);
    end_products();
    if (output != y) memcpy(y, output, 4 * rows * O);
    return 1;
}

/* x [starts[rows]][width] float32 through all blocks, and normed, in place: row b from starts[b]
   up to starts[b + 1], `longest` tokens at most. Token i of a row stands at `at` + i of its cache,
   where its key and value are put; it sees the first `seen` places there, or, where `seen` is 0,
   those up to its own, and before them the first `count` of what is shared by all rows. cosine,
   sine [longest][head / 2]; weights are qkv, out, up and down of each layer. 0 where
   there is no memory. */
int infill_blocks(const Shape *shape, const bf16 *weights, float *x, int64_t rows,
                  const int64_t *starts, int64_t longest, const float *cosine, const float *sine,
                  const Cache *shared, int64_t count, const Cache *cache, int64_t at,
                  int64_t seen) {
    const int64_t D = shape->width, K = shape->kv, G = shape->group, E = shape->head;
    const int64_t F = shape->ff, Q = K * (G + 2) * E, R = starts[rows], M = tiled(R, GRAIN);
    const int64_t furthest = seen ? seen : at + longest;
    Seen common = {.all = count, .N = tiled(count, 32)};
    Seen own = {.all = furthest, .N = tiled(furthest, 32)};
    const int64_t N = common.N + own.N, places = tiled(count + furthest, 16) + 16;
    const int64_t most = D > F ? D : F;
    int64_t size = 4 * M * (D + Q + 2 * F) + M * (sizeof(cell) * (D + F) + 2 * most + 4);
    size += 2 * R * K * G * E;
    size += 4 * 16 * places + 4 * 16 * N / 2 + 2 * 16 * N + 2 * E * N + 3 * 2 * 16 * E + 4 * 16 * E;
    if (!reserve(&scratch, size + 22 * LINE)) return 0;
    char *free_at = scratch.memory;
    float *state = take(&free_at, 4 * M * D), *mixed = take(&free_at, 4 * M * Q);
    float *raised = take(&free_at, 4 * M * 2 * F);
    cell *input = take(&free_at, sizeof(cell) * M * D);
    cell *gated = take(&free_at, sizeof(cell) * M * F);
    void *packed = take(&free_at, 2 * M * most);
    float *scales = take(&free_at, 4 * M);
    bf16 *queries = take(&free_at, 2 * R * K * G * E);
    float *scores = take(&free_at, 4 * 16 * places);
    uint32_t *pairs = take(&free_at, 4 * 16 * N / 2);
    uint32_t *probabilities = take(&free_at, 2 * 16 * N);
    uint32_t *query = take(&free_at, 2 * 16 * E);
    float *attended = take(&free_at, 4 * 16 * E);
    common.last = take(&free_at, 2 * 16 * E), own.last = take(&free_at, 2 * 16 * E);
    common.values = take(&free_at, 2 * E * common.N), own.values = take(&free_at, 2 * E * own.N);
    memcpy(state, x, 4 * R * D);
    memset(state + R * D, 0, 4 * (M - R) * D);
    memset(gated + R * F, 0, sizeof(cell) * (M - R) * F);
    const float scale = 1.0f / sqrtf((float)E);
    /* The largest x: all rows, or the keys of one head. */
    int64_t widest = M * (D > F ? D : F), keys = (common.N > own.N ? common.N : own.N) * E;
    if (!start_products(widest > keys ? widest : keys)) return 0;
    for (int64_t layer = 0; layer < shape->layers; layer++) {
        const bf16 *qkv = weights, *out = qkv + Q / 16 * PANEL(D), *up = out + D / 16 * PANEL(D);
        const bf16 *down = up + F / 8 * PANEL(D);
        weights = down + D / 16 * PANEL(F);
        normed(state, M, D, input);
        multiply(input, M, (const void *)qkv, mixed, Q, Q, D, 0, packed, scales);
        for (int64_t h = 0; h < K; h++) {
            if (count) {
                int64_t base = layer * shared->layer + h * shared->kv_head;
                prepare(&common, shared->keys + base, shared->values + base, E);
            }
            for (int64_t b = 0; b < rows; b++) {
                const int64_t start = starts[b], n = starts[b + 1] - start;
                int64_t base = layer * cache->layer + b * cache->row + h * cache->kv_head;
                bf16 *keys = cache->keys + base, *values = cache->values + base;
                for (int64_t i = 0; i < n; i++) {
                    const float *part = mixed + (start + i) * Q + h * (G + 2) * E;
                    const float *c = cosine + i * E / 2, *s = sine + i * E / 2;
                    bf16 *to = queries + ((start + i) * K + h) * G * E;
                    for (int64_t g = 0; g < G; g++)
                        rotated(part + g * E, E, c, s, scale, to + g * E);
                    rotated(part + G * E, E, c, s, 1.0f, keys + (at + i) * E);
                    for (int64_t e = 0; e < E; e += LANES)
                        *(halves *)(values + (at + i) * E + e) =
                            rounded(*(const vec *)(part + (G + 1) * E + e));
                }
                own.all = seen ? seen : at + n, own.N = tiled(own.all, 32);
                prepare(&own, keys, values, E);
                for (int64_t block = 0; block < tiled(n * G, 16) / 16; block++) {
                    ints visible;
                    int64_t reach = 0; /* of its own row, nobody in this block sees further */
                    for (int64_t lane = 0; lane < LANES; lane++) {
                        int64_t q = block * LANES + lane, i = q / G;
                        const bf16 *from = queries + ((start + i) * K + h) * G * E + q % G * E;
                        for (int64_t e = 0; e < E / 2; e++) {
                            uint32_t pair = 0;
                            if (i < n) memcpy(&pair, from + 2 * e, 4);
                            query[e * LANES + lane] = pair;
                        }
                        /* Lanes without a query see what the last one sees. */
                        int64_t sees = seen ? seen : at + 1 + (i < n ? i : n - 1);
                        visible[lane] = (int32_t)(count + sees);
                        if (sees > reach) reach = sees;
                    }
                    int64_t near = tiled(reach, 32), lanes = n * G - block * LANES;
                    lanes = tiled(lanes < LANES ? lanes : LANES, ROWS);
                    score(&common, count, query, scores, E);
                    score(&own, reach, query, scores + LANES * count, E);
                    vec sum = softmax(scores, count + reach, visible);
                    if (count) {
                        transposed(scores, count, common.N, pairs, probabilities);
                        product((bf16 *)probabilities, lanes, (bf16 *)common.values, 16 * common.N,
                                attended, E, E, common.N, 0);
                    }
                    transposed(scores + LANES * count, reach, near, pairs, probabilities);
                    product((bf16 *)probabilities, lanes, (bf16 *)own.values, 16 * own.N, attended,
                            E, E, near, count > 0);
                    for (int64_t lane = 0; lane < LANES; lane++) {
                        int64_t q = block * LANES + lane, i = q / G;
                        if (i >= n) break;
                        cell *to = input + (start + i) * D + (h * G + q % G) * E;
                        float share = 1.0f / sum[lane];
                        for (int64_t e = 0; e < E; e += LANES)
                            put(to + e, *(vec *)(attended + lane * E + e) * share);
                    }
                }
            }
        }
        multiply(input, M, (const void *)out, state, D, D, D, 1, packed, scales);
        normed(state, M, D, input);
        multiply(input, M, (const void *)up, raised, 2 * F, 2 * F, D, 0, packed, scales);
        for (int64_t m = 0; m < R; m++)
            for (int64_t f = 0; f < F; f += LANES) {
                vec gate = *(vec *)(raised + m * 2 * F + f);
                vec value = *(vec *)(raised + m * 2 * F + F + f);
                vec below = chosen(-gate < 88.0f, -gate, spread(88.0f));
                put(gated + m * F + f, gate / (1.0f + exponential(below)) * value);
            }
        multiply(gated, M, (const void *)down, state, D, D, F, 1, packed, scales);
    }
    end_products();
    for (int64_t m = 0; m < R; m++) {
        float inverse = inverse_norm(state + m * D, D);
        for (int64_t i = 0; i < D; i += LANES)
            *(vec *)(x + m * D + i) = *(vec *)(state + m * D + i) * inverse;
    }
    return 1;
}

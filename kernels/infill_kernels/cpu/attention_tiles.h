/* Attention as `attention.h` has it, for CPUs with tiles: keys, queries, probabilities and values
   are brought into the form of a product's weights, so attention is two products. */

#include "tree.h"

/* Keys and values of one head that some queries see, `all` of them, ready to be multiplied. */
typedef struct {
    const bf16 *keys;
    bf16 *last;       /* [16][E], the keys of the last tile, which is not whole */
    uint32_t *values; /* [E / 16][N / 2][16], as `interleaved` leaves them */
    int64_t all, N;
} Seen;

/* Where attention works: see `attention_memory`. */
typedef struct {
    float *scores, *attended;
    uint32_t *pairs, *probabilities, *query;
    ints *masks;
    bf16 *narrow;        /* [E], a query */
    bf16 *keys, *values; /* of what sixteen queries of a tree see, gathered */
    Seen shared, own;
} Attention;

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

/* Of n scores [n][16] make exponentials; returns their sums. The last ones are masked: query i
   does not see key n - `masked` + j where masks[j][i] is 0. */
static vec softmax(float *scores, int64_t n, const ints *masks, int64_t masked) {
    part most = fill(-INFINITY), sum = {0};
    for (int64_t i = 0; i < n; i++) {
        vec *score = (vec *)(scores + i * LANES);
        if (i >= n - masked) *score = chosen(masks[i - n + masked], *score, spread(-INFINITY));
        most = larger(*score, most);
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

/* The most of its own keys that a row's sixteen queries see. */
static int64_t own_keys(const Pass *pass, const Tree *tree) {
    return tree ? tree->most : pass->seen ? pass->seen : pass->at + pass->tokens;
}

static int64_t attention_memory(const Shape *s, const Pass *pass, const Tree *tree) {
    const int64_t E = s->head, own = own_keys(pass, tree);
    const int64_t N = tiled(pass->count, 32) + tiled(own, 32), places = N + 32;
    return 4 * 16 * (places + E) + 4 * 16 * N / 2 + 2 * 16 * N + 2 * 16 * E + 64 * own + 2 * E +
           2 * E * N + 2 * 2 * 16 * E + 2 * 2 * E * (own + 16) + 16 * LINE;
}

static void take_attention(Attention *a, char **at, const Shape *s, const Pass *pass,
                           const Tree *tree) {
    const int64_t E = s->head, own = own_keys(pass, tree);
    const int64_t N = tiled(pass->count, 32) + tiled(own, 32), places = N + 32;
    a->scores = take(at, 4 * 16 * places);
    a->attended = take(at, 4 * 16 * E);
    a->pairs = take(at, 4 * 16 * N / 2);
    a->probabilities = take(at, 2 * 16 * N);
    a->query = take(at, 2 * 16 * E);
    a->masks = take(at, 64 * own);
    a->narrow = take(at, 2 * E);
    a->shared = (Seen){.all = pass->count, .N = tiled(pass->count, 32)};
    a->shared.last = take(at, 2 * 16 * E), a->own.last = take(at, 2 * 16 * E);
    a->shared.values = take(at, 2 * E * a->shared.N);
    a->own.values = take(at, 2 * E * tiled(own, 32));
    a->keys = take(at, 2 * E * (own + 16)), a->values = take(at, 2 * E * (own + 16));
}

/* What all rows share of a head. */
static void share(Attention *a, const bf16 *keys, const bf16 *values, const Pass *pass, int64_t E) {
    (void)pass;
    prepare(&a->shared, keys, values, E);
}

/* Sixteen queries, or the first `lanes` of them, over what is shared and the first `own_count` of
   their own keys; leaves what they gather in a->attended [16][E] and returns the exponentials'
   sums, by which that has to be divided. */
static vec attend_tile(const Attention *a, int64_t own_count, const ints *masks, int64_t masked,
                       int64_t lanes, int64_t E) {
    const Seen *shared = &a->shared, *own = &a->own;
    const int64_t count = shared->all, near = tiled(own_count, 32);
    lanes = tiled(lanes, ROWS);
    if (count) score(shared, count, a->query, a->scores, E);
    score(own, own_count, a->query, a->scores + LANES * count, E);
    const vec sum = softmax(a->scores, count + own_count, masks, masked);
    if (count) {
        transposed(a->scores, count, shared->N, a->pairs, a->probabilities);
        product((bf16 *)a->probabilities, lanes, (bf16 *)shared->values, 16 * shared->N,
                a->attended, E, E, shared->N, 0);
    }
    transposed(a->scores + LANES * count, own_count, near, a->pairs, a->probabilities);
    product((bf16 *)a->probabilities, lanes, (bf16 *)own->values, 16 * own->N, a->attended, E, E,
            near, count > 0);
    return sum;
}

/* Queries `first` to `first` + 15 of a head, in pairs [E / 2][16]. */
static void gather_queries(const Attention *a, const float *queries, int64_t stride, int64_t G,
                           int64_t E, int64_t first, int64_t tokens) {
    for (int64_t lane = 0; lane < LANES; lane++) {
        const int64_t i = (first + lane) / G, g = (first + lane) % G;
        const float *from = queries + i * stride + g * E;
        for (int64_t e = 0; i < tokens && e < E; e += LANES)
            *(halves *)(a->narrow + e) = rounded(*(const vec *)(from + e));
        for (int64_t e = 0; e < E / 2; e++) {
            uint32_t pair = 0;
            if (i < tokens) memcpy(&pair, a->narrow + 2 * e, 4);
            a->query[e * LANES + lane] = pair;
        }
    }
}

/* What the queries of a head gather for the tokens of a row, into `to`; queries and results are
   `from_stride` and `to_stride` from one token to the next. Keys and values are the row's own. */
static void attend(Attention *a, const Shape *s, const Pass *pass, const Tree *tree,
                   const float *queries, int64_t from_stride, const bf16 *keys, const bf16 *values,
                   float *to, int64_t to_stride) {
    const int64_t G = s->group, E = s->head, n = pass->tokens;
    Seen *own = &a->own;
    if (!tree) {
        own->all = own_keys(pass, tree), own->N = tiled(own->all, 32);
        prepare(own, keys, values, E);
    }
    for (int64_t first = 0; first < n * G; first += LANES) {
        const int64_t lanes = n * G - first < LANES ? n * G - first : LANES;
        const ints *masks = a->masks;
        int64_t reach, masked;
        gather_queries(a, queries, from_stride, G, E, first, n);
        if (tree) {
            const Group group = tree->groups[first / LANES];
            const int32_t *seen = tree->seen + group.first;
            for (int64_t i = 0; i < group.count; i++) {
                memcpy(a->keys + i * E, keys + seen[i] * E, 2 * E);
                memcpy(a->values + i * E, values + seen[i] * E, 2 * E);
            }
            reach = masked = group.count, masks = tree->masks + group.first;
            own->all = reach, own->N = tiled(reach, 32);
            prepare(own, a->keys, a->values, E);
        } else if (pass->seen) {
            reach = pass->seen, masked = 0;
        } else {
            const int64_t least = pass->at + 1 + first / G;
            reach = pass->at + 1 + (first + lanes - 1) / G, masked = reach - least;
            for (int64_t j = 0; j < masked; j++)
                for (int64_t lane = 0; lane < LANES; lane++) {
                    /* Lanes without a query see what the last one sees. */
                    int64_t i = (first + (lane < lanes ? lane : lanes - 1)) / G;
                    a->masks[j][lane] = -(least + j < pass->at + 1 + i);
                }
        }
        const vec sums = attend_tile(a, reach, masks, masked, lanes, E);
        for (int64_t lane = 0; lane < lanes; lane++) {
            const int64_t i = (first + lane) / G, g = (first + lane) % G;
            const float share = 1.0f / sums[lane];
            for (int64_t e = 0; e < E; e += LANES)
                *(vec *)(to + i * to_stride + g * E + e) =
                    *(vec *)(a->attended + lane * E + e) * share;
        }
    }
}

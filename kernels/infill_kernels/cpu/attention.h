/* Attention of a few queries over keys and values in bfloat16, 16 queries of a head at a time.

   Keys, queries, probabilities and values are brought into the form of a product's weights, so
   attention is two products. */

#include "bf16.h"

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
    vec most = spread(-INFINITY), sum = {0};
    for (int64_t i = 0; i < n; i++) {
        vec *score = (vec *)(scores + i * LANES);
        if (i >= n - masked) *score = chosen(masks[i - n + masked], *score, spread(-INFINITY));
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

static int64_t attention_memory(int64_t shared, int64_t own, int64_t E) {
    const int64_t N = tiled(shared, 32) + tiled(own, 32), places = N + 32;
    return 4 * 16 * (places + E) + 4 * 16 * N / 2 + 2 * 16 * N + 2 * 16 * E + 64 * own + 6 * LINE;
}

static void take_attention(Attention *a, char **at, int64_t shared, int64_t own, int64_t E) {
    const int64_t N = tiled(shared, 32) + tiled(own, 32), places = N + 32;
    a->scores = take(at, 4 * 16 * places);
    a->attended = take(at, 4 * 16 * E);
    a->pairs = take(at, 4 * 16 * N / 2);
    a->probabilities = take(at, 2 * 16 * N);
    a->query = take(at, 2 * 16 * E);
    a->masks = take(at, 64 * own);
}

/* Sixteen queries, or the first `lanes` of them, over what is shared and the first `own_count` of
   their own keys; leaves what they gather in a->attended [16][E] and returns the exponentials'
   sums, by which that has to be divided. */
static vec attend(const Attention *a, const Seen *shared, const Seen *own, int64_t own_count,
                  const ints *masks, int64_t masked, int64_t lanes, int64_t E) {
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

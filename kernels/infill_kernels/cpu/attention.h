/* Attention over keys and values in bfloat16, in float32, 16 queries of a head at a time, one to a
   lane.

   Keys and values are widened in chunks that stay in the nearest cache, and each chunk meets all
   queries that see it. So the softmax is made as they come: a block keeps the greatest score so
   far, and what it has gathered and summed is scaled down where a chunk has a greater one. */

#include "tree.h"

#define CHUNK 64 /* keys */
#define BLOCKS 8 /* of 16 queries, that a chunk is widened for */

/* Sixteen queries of a head: `query` and `gathered` are [E][16]. */
typedef struct {
    float *query, *gathered;
    float most[LANES], sum[LANES];
    int64_t lanes;
} Queries;

typedef struct {
    float *keys, *values; /* [CHUNK][E] */
    float *scores;        /* [CHUNK][16] */
    ints *masks;          /* [CHUNK] */
    Queries blocks[BLOCKS];
    const bf16 *shared_keys, *shared_values;
} Attention;

static int64_t attention_memory(const Shape *s, const Pass *pass, const Tree *tree) {
    (void)pass, (void)tree;
    return 4 * CHUNK * (2 * s->head + 2 * LANES) + 2 * 4 * BLOCKS * LANES * s->head + 20 * LINE;
}

static void take_attention(Attention *a, char **at, const Shape *s, const Pass *pass,
                           const Tree *tree) {
    (void)pass, (void)tree;
    a->keys = take(at, 4 * CHUNK * s->head), a->values = take(at, 4 * CHUNK * s->head);
    a->scores = take(at, 4 * CHUNK * LANES), a->masks = take(at, sizeof(ints) * CHUNK);
    for (int b = 0; b < BLOCKS; b++) {
        a->blocks[b].query = take(at, 4 * LANES * s->head);
        a->blocks[b].gathered = take(at, 4 * LANES * s->head);
    }
}

/* What all rows share of a head. */
static void share(Attention *a, const bf16 *keys, const bf16 *values, const Pass *pass, int64_t E) {
    (void)pass, (void)E;
    a->shared_keys = keys, a->shared_values = values;
}

typedef uint16_t part_halves __attribute__((vector_size(2 * WIDTH), aligned(2), may_alias));

INLINE void widen(const bf16 *from, int64_t count, float *to) {
    for (int64_t i = 0; i < count; i += WIDTH) {
        const part_halves narrow = *(const part_halves *)(from + i);
        *(part_ints *)(to + i) = __builtin_convertvector(narrow, part_ints) << 16;
    }
}

/* Scores [count][16] of keys [count][E], and sums of values [count][E] weighted by them, added to
   what is gathered. Of the lanes the first `parts` registers are done; `at_once` keys or
   dimensions need at_once * parts registers for their sums. Both are known when compiled. */
INLINE void score(const float *keys, int64_t count, const float *query, float *scores, int64_t E,
                  int parts, int at_once) {
    for (int64_t j = 0; j < count; j += at_once, keys += at_once * E, scores += at_once * LANES) {
        part sum[8][PARTS];
#pragma GCC unroll 8
        for (int r = 0; r < at_once; r++)
#pragma GCC unroll 4
            for (int p = 0; p < parts; p++) sum[r][p] = (part){0};
        for (int64_t e = 0; e < E; e++) {
            const float *of = query + e * LANES;
#pragma GCC unroll 8
            for (int r = 0; r < at_once; r++)
#pragma GCC unroll 4
                for (int p = 0; p < parts; p++)
                    sum[r][p] += keys[r * E + e] * *(const part *)(of + p * WIDTH);
        }
#pragma GCC unroll 8
        for (int r = 0; r < at_once; r++)
#pragma GCC unroll 4
            for (int p = 0; p < parts; p++)
                *(part *)(scores + r * LANES + p * WIDTH) = sum[r][p];
    }
}

INLINE void gather(const float *values, int64_t count, const float *weights, float *gathered,
                   int64_t E, int parts, int at_once) {
    for (int64_t e = 0; e < E; e += at_once, values += at_once, gathered += at_once * LANES) {
        part sum[8][PARTS];
#pragma GCC unroll 8
        for (int r = 0; r < at_once; r++)
#pragma GCC unroll 4
            for (int p = 0; p < parts; p++)
                sum[r][p] = *(const part *)(gathered + r * LANES + p * WIDTH);
        for (int64_t j = 0; j < count; j++) {
            const float *of = weights + j * LANES;
#pragma GCC unroll 8
            for (int r = 0; r < at_once; r++)
#pragma GCC unroll 4
                for (int p = 0; p < parts; p++)
                    sum[r][p] += values[j * E + r] * *(const part *)(of + p * WIDTH);
        }
#pragma GCC unroll 8
        for (int r = 0; r < at_once; r++)
#pragma GCC unroll 4
            for (int p = 0; p < parts; p++)
                *(part *)(gathered + r * LANES + p * WIDTH) = sum[r][p];
    }
}

/* As many as hide how long a sum takes, and fit into the registers. */
#define AT_ONCE (PARTS > 2 ? 2 : 8 / PARTS)

/* Makes exponentials of scores [count][16], in place, and scales what was gathered before down to
   the greatest so far. */
INLINE void soften(Queries *q, float *scores, int64_t count, int64_t E, int parts) {
    for (int p = 0; p < parts; p++) {
        float *of = scores + p * WIDTH;
        const part before = *(part *)(q->most + p * WIDTH);
        part most = before, sum = {0};
        for (int64_t j = 0; j < count; j++) most = larger(*(part *)(of + j * LANES), most);
        for (int64_t j = 0; j < count; j++)
            sum += *(part *)(of + j * LANES) = exponential(*(part *)(of + j * LANES) - most);
        if (memcmp(&most, &before, sizeof most)) { /* at first, from e^-inf */
            const part less = exponential(before - most);
            *(part *)(q->most + p * WIDTH) = most;
            *(part *)(q->sum + p * WIDTH) *= less;
            for (int64_t e = 0; e < E; e++) *(part *)(q->gathered + e * LANES + p * WIDTH) *= less;
        }
        *(part *)(q->sum + p * WIDTH) += sum;
    }
}

/* A block of queries meets the first `count` keys and values of the chunk that is widened. Query i
   does not see key j where masks[j][i] is 0; masks may be NULL. */
INLINE void meet_parts(const Attention *a, Queries *q, int64_t count, const ints *masks, int64_t E,
                       int parts, int at_once) {
    score(a->keys, tiled(count, at_once), q->query, a->scores, E, parts, at_once);
    for (int64_t j = 0; masks && j < count; j++) {
        vec *of = (vec *)a->scores + j;
        *of = chosen(masks[j], *of, spread(-INFINITY));
    }
    soften(q, a->scores, count, E, parts);
    gather(a->values, count, a->scores, q->gathered, E, parts, at_once);
}

static void meet(const Attention *a, Queries *q, int64_t count, const ints *masks, int64_t E) {
    if (PARTS > 1 && q->lanes <= WIDTH)
        meet_parts(a, q, count, masks, E, 1, 8);
    else
        meet_parts(a, q, count, masks, E, PARTS, AT_ONCE);
}

/* Queries from number `first` on of a row's n * G of a head, token by token; the queries of the
   row's first token begin at `from`, those of the next `stride` floats later. */
static void take_queries(Queries *q, const float *from, int64_t stride, int64_t first, int64_t n,
                         int64_t G, int64_t E) {
    q->lanes = n * G - first < LANES ? n * G - first : LANES;
    for (int i = 0; i < LANES; i++) q->most[i] = -INFINITY, q->sum[i] = 0;
    memset(q->gathered, 0, 4 * LANES * E);
    memset(q->query, 0, 4 * LANES * E);
    for (int64_t lane = 0; lane < q->lanes; lane++) {
        const float *of = from + (first + lane) / G * stride + (first + lane) % G * E;
        for (int64_t e = 0; e < E; e++) q->query[e * LANES + lane] = of[e];
    }
}

static void give(const Queries *q, float *to, int64_t stride, int64_t first, int64_t G, int64_t E) {
    for (int64_t lane = 0; lane < q->lanes; lane++) {
        float *of = to + (first + lane) / G * stride + (first + lane) % G * E;
        const float share = 1.0f / q->sum[lane];
        for (int64_t e = 0; e < E; e++) of[e] = q->gathered[e * LANES + lane] * share;
    }
}

/* What the queries of a head gather for the tokens of a row, into `to`; queries and results are
   `from_stride` and `to_stride` from one token to the next. Keys and values are the row's own. */
static void attend(Attention *a, const Shape *s, const Pass *pass, const Tree *tree,
                   const float *queries, int64_t from_stride, const bf16 *keys, const bf16 *values,
                   float *to, int64_t to_stride) {
    const int64_t G = s->group, E = s->head, n = pass->tokens;
    for (int64_t start = 0; start < n * G; start += BLOCKS * LANES) {
        const int64_t end = n * G < start + BLOCKS * LANES ? n * G : start + BLOCKS * LANES;
        const int64_t blocks = tiled(end - start, LANES) / LANES;
        for (int64_t b = 0; b < blocks; b++)
            take_queries(a->blocks + b, queries, from_stride, start + b * LANES, n, G, E);
        for (int64_t j = 0; j < pass->count; j += CHUNK) {
            const int64_t count = pass->count - j < CHUNK ? pass->count - j : CHUNK;
            widen(a->shared_keys + j * E, count * E, a->keys);
            widen(a->shared_values + j * E, count * E, a->values);
            for (int64_t b = 0; b < blocks; b++) meet(a, a->blocks + b, count, NULL, E);
        }
        for (int64_t b = 0; tree && b < blocks; b++) {
            const Group group = tree->groups[start / LANES + b];
            const int32_t *seen = tree->seen + group.first;
            for (int64_t j = 0; j < group.count; j += CHUNK) {
                const int64_t count = group.count - j < CHUNK ? group.count - j : CHUNK;
                for (int64_t i = 0; i < count; i++) {
                    widen(keys + seen[j + i] * E, E, a->keys + i * E);
                    widen(values + seen[j + i] * E, E, a->values + i * E);
                }
                meet(a, a->blocks + b, count, tree->masks + group.first + j, E);
            }
        }
        /* How many of the row's own keys the last query sees, and the first of a block. */
        const int64_t reach = tree ? 0 : pass->seen ? pass->seen : pass->at + 1 + (end - 1) / G;
        for (int64_t j = 0; j < reach; j += CHUNK) {
            const int64_t count = reach - j < CHUNK ? reach - j : CHUNK;
            widen(keys + j * E, count * E, a->keys);
            widen(values + j * E, count * E, a->values);
            for (int64_t b = 0; b < blocks; b++) {
                const int64_t first = start + b * LANES, last = first + a->blocks[b].lanes - 1;
                const int64_t least = pass->seen ? reach : pass->at + 1 + first / G;
                const int64_t most = pass->seen ? reach : pass->at + 1 + last / G;
                const int64_t met = most - j < count ? most - j : count;
                if (met <= 0) continue;
                if (least < j + met)
                    for (int64_t i = 0; i < met; i++)
                        for (int64_t lane = 0; lane < LANES; lane++) {
                            /* Lanes without a query see what the last one sees. */
                            const int64_t query = first + lane < last ? first + lane : last;
                            a->masks[i][lane] = -(j + i < pass->at + 1 + query / G);
                        }
                meet(a, a->blocks + b, met, least < j + met ? a->masks : NULL, E);
            }
        }
        for (int64_t b = 0; b < blocks; b++)
            give(a->blocks + b, to, to_stride, start + b * LANES, G, E);
    }
}

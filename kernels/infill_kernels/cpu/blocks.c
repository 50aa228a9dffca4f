/* A decoder's blocks over a few rows, and its head, in one thread: see native.py, which checks what
   it is given.

   A product takes x in float32 and weights in one of the forms of bf16.h, int16.h and q4.h. Keys
   and values are bfloat16 (attention.h).

   All widths are multiples of 32. */

#include "attention.h"
#include "int16.h"
#include "q4.h"
#include "peak.h"

typedef struct {
    int64_t layers, width, kv, group, head, ff, format;
    int64_t normed; /* whether queries and keys are normed by root mean square */
    float epsilon;
} Shape;

typedef struct {
    bf16 *keys, *values;         /* [layers][rows][kv][N][head], the last two dense */
    int64_t layer, row, kv_head; /* strides in elements, the same for both */
} Cache;

/* What of a pass does not depend on the network. Of B rows of n tokens, token i of a row stands at
   `at` + i of its cache, where its key and value are put; it sees the first `seen` places there
   or, where `seen` is 0, those up to its own. Or B is 1, and the cache is a tree of which the
   n tokens are the last: parents [at + n] come before their children, -1 being none; a token sees
   itself and those above it. All see the first `count` places of what is shared. */
typedef struct {
    int64_t rows, tokens;
    const int32_t *parents;
    const float *cosine, *sine; /* [positions][head / 2]; of a tree, a position is a depth */
    const Cache *shared, *cache;
    int64_t count, at, seen;
} Pass;

static _Thread_local Scratch scratch, outlines;

/* Memory of a product of M rows by up to `most` inputs. */
static int64_t product_memory(int64_t format, int64_t M, int64_t most) {
    return format == Q4 ? q4_memory(M, most) : 2 * M * most + 4 * M + 2 * LINE;
}

static int64_t row_grain(int64_t format) { return format == BF16 ? ROWS : 1; }

/* x [M][I] times w [O][I] gives y [M][O], or is added to it. M is a multiple of the grain. */
static void multiply(int64_t format, const float *x, int64_t M, const void *w, float *y,
                     int64_t stride, int64_t O, int64_t I, int add, void *memory) {
    char *at = memory;
    if (format == Q4) {
        q4_product(x, M, w, y, stride, O, I, add, memory);
        return;
    }
#ifdef AVX2
    if (format == INT16) {
        int16_t *packed = take(&at, 2 * M * I);
        whole_product(x, M, w, y, stride, O, I, add, packed, take(&at, 4 * M));
        return;
    }
#endif
    bf16 *narrow = take(&at, 2 * M * I);
    for (int64_t i = 0; i < M * I; i += LANES) *(halves *)(narrow + i) = rounded(*(const vec *)(x + i));
    product(narrow, M, w, 16 * I, y, stride, O, I, add);
}

static float inverse_norm(const float *x, int64_t n, float epsilon) {
    vec sum = {0};
    for (int64_t i = 0; i < n; i += LANES) sum += *(const vec *)(x + i) * *(const vec *)(x + i);
    return 1.0f / sqrtf(total(sum) / n + epsilon);
}

/* gain [n] may be NULL. x may be y. */
static void normed(const float *x, int64_t rows, int64_t n, float epsilon, const float *gain,
                   float *y) {
    for (int64_t m = 0; m < rows; m++, x += n, y += n) {
        const float inverse = inverse_norm(x, n, epsilon);
        for (int64_t i = 0; i < n; i += LANES) {
            vec v = *(const vec *)(x + i) * inverse;
            if (gain) v *= *(const vec *)(gain + i);
            *(vec *)(y + i) = v;
        }
    }
}

/* A head [E], rotated to its position, times `factor`. E / 2 is a multiple of 16. */
static void rotated(const float *x, int64_t E, const float *cosine, const float *sine, float factor,
                    bf16 *y) {
    for (int64_t i = 0; i < E / 2; i += LANES) {
        vec a = *(const vec *)(x + i) * factor, b = *(const vec *)(x + E / 2 + i) * factor;
        vec c = *(const vec *)(cosine + i), s = *(const vec *)(sine + i);
        *(halves *)(y + i) = rounded(a * c - b * s);
        *(halves *)(y + E / 2 + i) = rounded(b * c + a * s);
    }
}

/* Sixteen queries of a tree: the tokens that any of them sees, and which of these each sees. */
typedef struct {
    int64_t first, count; /* in Tree.seen and Tree.masks */
} Group;

typedef struct {
    int32_t *depth, *seen; /* seen: tokens, in order */
    ints *masks;
    Group *groups;
    bf16 *keys, *values; /* of a group, gathered */
    int64_t most;        /* of what a group sees */
} Tree;

/* Fills in `groups` and `depth`, and returns how many entries `seen` and `masks` need. Queries are
   those of the tokens from `at` to n; `marks` has room for n. */
static int64_t outline(Tree *tree, const int32_t *parents, int64_t at, int64_t n, int64_t G,
                       int32_t *marks) {
    int64_t entries = 0;
    tree->most = 0;
    for (int64_t i = 0; i < n; i++) {
        tree->depth[i] = parents[i] < 0 ? 0 : tree->depth[parents[i]] + 1;
        marks[i] = -1;
    }
    for (int64_t g = 0; g < tiled((n - at) * G, LANES) / LANES; g++) {
        int64_t count = 0, last = at + (g * LANES + LANES - 1) / G;
        for (int64_t i = at + g * LANES / G; i <= last && i < n; i++)
            for (int64_t a = i; a >= 0 && marks[a] != g; a = parents[a]) marks[a] = g, count++;
        tree->groups[g] = (Group){entries, count};
        entries += count;
        if (count > tree->most) tree->most = count;
    }
    return entries;
}

static void fill_in(Tree *tree, const int32_t *parents, int64_t at, int64_t n, int64_t G,
                    int32_t *places) {
    for (int64_t g = 0; g < tiled((n - at) * G, LANES) / LANES; g++) {
        const Group group = tree->groups[g];
        int32_t *seen = tree->seen + group.first;
        ints *masks = tree->masks + group.first;
        int64_t first = at + g * LANES / G, last = at + (g * LANES + LANES - 1) / G, count = 0;
        for (int64_t i = 0; i < n; i++) places[i] = -1;
        for (int64_t i = first; i <= last && i < n; i++)
            for (int64_t a = i; a >= 0 && places[a] < 0; a = parents[a]) places[a] = 0;
        for (int64_t i = 0; i < n && i <= last; i++)
            if (!places[i]) places[i] = count, seen[count++] = i;
        memset(masks, 0, sizeof(ints) * count);
        for (int64_t lane = 0; lane < LANES; lane++) {
            int64_t i = at + (g * LANES + lane) / G;
            /* Lanes without a query see what the last one sees. */
            for (int64_t a = i < n ? i : n - 1; a >= 0; a = parents[a])
                masks[places[a]][lane] = -1;
        }
    }
}

/* Queries `first` to `first` + 15 of a head, in pairs [E / 2][16]. */
static void gather_queries(const bf16 *queries, int64_t K, int64_t G, int64_t E, int64_t first,
                           int64_t tokens, uint32_t *query) {
    for (int64_t lane = 0; lane < LANES; lane++) {
        const int64_t i = (first + lane) / G, g = (first + lane) % G;
        const bf16 *from = queries + (i * K * G + g) * E;
        for (int64_t e = 0; e < E / 2; e++) {
            uint32_t pair = 0;
            if (i < tokens) memcpy(&pair, from + 2 * e, 4);
            query[e * LANES + lane] = pair;
        }
    }
}

typedef struct {
    float *state, *mixed, *raised, *input, *gated;
    void *product;
    bf16 *queries;
    Attention attention;
    Seen shared, own;
    Tree tree;
} Work;

/* What head h of a row's tokens, from `start` on, gathers: into work->input. */
static void attend_row(Work *work, const Shape *s, const Pass *pass, int64_t h, int64_t start,
                       const bf16 *keys, const bf16 *values) {
    const int64_t G = s->group, E = s->head, n = pass->tokens;
    const Attention *a = &work->attention;
    Seen *own = &work->own;
    const bf16 *queries = work->queries + (start * s->kv + h) * G * E;
    if (!pass->parents) {
        own->all = pass->seen ? pass->seen : pass->at + n, own->N = tiled(own->all, 32);
        prepare(own, keys, values, E);
    }
    for (int64_t block = 0; block < tiled(n * G, LANES) / LANES; block++) {
        const int64_t first = block * LANES, lanes = n * G - first < LANES ? n * G - first : LANES;
        const ints *masks = a->masks;
        int64_t reach, masked;
        gather_queries(queries, s->kv, G, E, first, n, a->query);
        if (pass->parents) {
            const Group group = work->tree.groups[block];
            const int32_t *seen = work->tree.seen + group.first;
            for (int64_t i = 0; i < group.count; i++) {
                memcpy(work->tree.keys + i * E, keys + seen[i] * E, 2 * E);
                memcpy(work->tree.values + i * E, values + seen[i] * E, 2 * E);
            }
            reach = masked = group.count, masks = work->tree.masks + group.first;
            own->all = reach, own->N = tiled(reach, 32);
            prepare(own, work->tree.keys, work->tree.values, E);
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
        const vec sums = attend(a, &work->shared, own, reach, masks, masked, lanes, E);
        for (int64_t lane = 0; lane < lanes; lane++) {
            const int64_t i = (first + lane) / G, g = (first + lane) % G;
            float *to = work->input + (start + i) * s->width + (h * G + g) * E;
            const float share = 1.0f / sums[lane];
            for (int64_t e = 0; e < E; e += LANES)
                *(vec *)(to + e) = *(vec *)(a->attended + lane * E + e) * share;
        }
    }
}

/* What all heads of a layer gather, of the queries, keys and values in work->mixed. */
static void attend_layer(Work *work, const Shape *s, const Pass *pass, int64_t layer) {
    const int64_t K = s->kv, G = s->group, E = s->head, Q = K * (G + 2) * E;
    const float scale = 1.0f / sqrtf((float)E);
    for (int64_t h = 0; h < K; h++) {
        if (pass->count) {
            const int64_t base = layer * pass->shared->layer + h * pass->shared->kv_head;
            prepare(&work->shared, pass->shared->keys + base, pass->shared->values + base, E);
        }
        for (int64_t b = 0; b < pass->rows; b++) {
            const int64_t start = b * pass->tokens;
            const int64_t base =
                layer * pass->cache->layer + b * pass->cache->row + h * pass->cache->kv_head;
            bf16 *keys = pass->cache->keys + base, *values = pass->cache->values + base;
            for (int64_t i = 0; i < pass->tokens; i++) {
                const float *part = work->mixed + (start + i) * Q + h * (G + 2) * E;
                const int64_t position = pass->parents ? work->tree.depth[pass->at + i] : i;
                const float *c = pass->cosine + position * E / 2, *t = pass->sine + position * E / 2;
                bf16 *to = work->queries + ((start + i) * K + h) * G * E;
                for (int64_t g = 0; g <= G; g++) {
                    const float *from = part + g * E;
                    float factor = s->normed ? inverse_norm(from, E, s->epsilon) : 1.0f;
                    bf16 *into = g < G ? to + g * E : keys + (pass->at + i) * E;
                    rotated(from, E, c, t, g < G ? factor * scale : factor, into);
                }
                for (int64_t e = 0; e < E; e += LANES)
                    *(halves *)(values + (pass->at + i) * E + e) =
                        rounded(*(const vec *)(part + (G + 1) * E + e));
            }
            attend_row(work, s, pass, h, start, keys, values);
        }
    }
}

/* Lays out all that a pass works in. 0 where there is no memory. */
static int lay_out(Work *work, const Shape *s, const Pass *pass, int64_t M) {
    const int64_t D = s->width, F = s->ff, E = s->head, G = s->group, n = pass->tokens;
    const int64_t R = pass->rows * n, Q = s->kv * (G + 2) * E, most = D > F ? D : F;
    const int64_t groups = tiled(n * G, LANES) / LANES, all = pass->at + n;
    int64_t entries = 0, own = pass->seen ? pass->seen : pass->at + n;
    Tree *tree = &work->tree;
    if (pass->parents) {
        if (!reserve(&outlines, 8 * all + sizeof(Group) * groups + 4 * LINE)) return 0;
        char *at = outlines.memory;
        tree->depth = take(&at, 4 * all);
        tree->groups = take(&at, sizeof(Group) * groups);
        entries = outline(tree, pass->parents, pass->at, all, G, take(&at, 4 * all));
        own = tree->most;
    }
    int64_t size = 4 * M * (2 * D + Q + 3 * F) + product_memory(s->format, M, most);
    size += 2 * R * s->kv * G * E + attention_memory(pass->count, own, E);
    size += 2 * E * (tiled(pass->count, 32) + tiled(own, 32)) + 2 * 2 * 16 * E;
    if (pass->parents) size += entries * (4 + sizeof(ints)) + 4 * E * (tree->most + 16) + 4 * all;
    if (!reserve(&scratch, size + 24 * LINE)) return 0;
    char *at = scratch.memory;
    work->state = take(&at, 4 * M * D), work->input = take(&at, 4 * M * D);
    work->mixed = take(&at, 4 * M * Q), work->raised = take(&at, 4 * M * 2 * F);
    work->gated = take(&at, 4 * M * F);
    work->product = take(&at, product_memory(s->format, M, most));
    work->queries = take(&at, 2 * R * s->kv * G * E);
    take_attention(&work->attention, &at, pass->count, own, E);
    work->shared = (Seen){.all = pass->count, .N = tiled(pass->count, 32)};
    work->shared.last = take(&at, 2 * 16 * E), work->own.last = take(&at, 2 * 16 * E);
    work->shared.values = take(&at, 2 * E * work->shared.N);
    work->own.values = take(&at, 2 * E * tiled(own, 32));
    if (pass->parents) {
        tree->seen = take(&at, 4 * entries), tree->masks = take(&at, sizeof(ints) * entries);
        tree->keys = take(&at, 2 * E * (tree->most + 16));
        tree->values = take(&at, 2 * E * (tree->most + 16));
        fill_in(tree, pass->parents, pass->at, all, G, take(&at, 4 * all));
    }
    /* The largest x of a product in bfloat16: all rows, or the keys of one head. */
    int64_t widest = s->format == BF16 ? M * most : 0;
    int64_t keys = (pass->count > own ? pass->count : own) + 32;
    return start_products(widest > keys * E ? widest : keys * E);
}

int EXPORTED(ready)(void) {
#if defined(AMX) && defined(__linux__) && !defined(EMULATED)
    enum { ARCH_REQ_XCOMP_PERM = 0x1023, XFEATURE_XTILEDATA = 18 };
    return syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0;
#endif
    return 1;
}

/* The form of weights that this level multiplies fastest without changing what a model says. */
int EXPORTED(format)(void) {
#if defined(AVX2) && !defined(AMX)
    return INT16;
#else
    return BF16;
#endif
}

/* x [rows][I] float32 times w [O][I]: y [rows][O]. O is a multiple of 16. 0 where there is no
   memory. */
int EXPORTED(product)(int64_t format, const float *x, int64_t rows, const void *w, float *y,
                      int64_t O, int64_t I) {
    const int64_t M = tiled(rows, row_grain(format));
    if (!reserve(&scratch, 4 * M * (I + O) + product_memory(format, M, I) + 4 * LINE)) return 0;
    char *at = scratch.memory;
    float *input = take(&at, 4 * M * I);
    float *output = rows == M ? y : take(&at, 4 * M * O);
    memcpy(input, x, 4 * rows * I);
    memset(input + rows * I, 0, 4 * (M - rows) * I);
    if (!start_products(M * I)) return 0;
    multiply(format, input, M, w, output, O, O, I, 0, at);
    end_products();
    if (output != y) memcpy(y, output, 4 * rows * O);
    return 1;
}

/* x [rows][tokens][width] float32 through `layers` blocks from block `first` on, in place. Weights
   are qkv, out, up and down of each block of the network; gains, or NULL, are those of each
   block's attention and of its MLP. 0 where there is no memory. */
int EXPORTED(blocks)(const Shape *s, const void *const *weights, const float *const *gains,
                     int64_t first, int64_t layers, const Pass *pass, float *x) {
    const int64_t D = s->width, F = s->ff, Q = s->kv * (s->group + 2) * s->head;
    const int64_t R = pass->rows * pass->tokens, M = tiled(R, row_grain(s->format));
    Work work;
    if (!lay_out(&work, s, pass, M)) return 0;
    memcpy(work.state, x, 4 * R * D);
    memset(work.state + R * D, 0, 4 * (M - R) * D);
    memset(work.gated + R * F, 0, 4 * (M - R) * F);
    for (int64_t layer = first; layer < first + layers; layer++) {
        const void *const *w = weights + 4 * layer;
        const float *const *gain = gains ? gains + 2 * layer : NULL;
        normed(work.state, M, D, s->epsilon, gain ? gain[0] : NULL, work.input);
        multiply(s->format, work.input, M, w[0], work.mixed, Q, Q, D, 0, work.product);
        attend_layer(&work, s, pass, layer);
        multiply(s->format, work.input, M, w[1], work.state, D, D, D, 1, work.product);
        normed(work.state, M, D, s->epsilon, gain ? gain[1] : NULL, work.input);
        multiply(s->format, work.input, M, w[2], work.raised, 2 * F, 2 * F, D, 0, work.product);
        for (int64_t m = 0; m < R; m++)
            for (int64_t f = 0; f < F; f += LANES) {
                vec gate = *(vec *)(work.raised + m * 2 * F + f);
                vec value = *(vec *)(work.raised + m * 2 * F + F + f);
                vec below = chosen(-gate < 88.0f, -gate, spread(88.0f));
                *(vec *)(work.gated + m * F + f) = gate / (1.0f + exponential(below)) * value;
            }
        multiply(s->format, work.gated, M, w[3], work.state, D, D, F, 1, work.product);
    }
    end_products();
    memcpy(x, work.state, 4 * R * D);
    return 1;
}

/* x [rows][n] normed by root mean square, and times a gain [n] where there is one, in place. */
void EXPORTED(norm)(float *x, int64_t rows, int64_t n, float epsilon, const float *gain) {
    normed(x, rows, n, epsilon, gain, x);
}

#define STRIP 512 /* outputs of a head at a time */

/* Of each row of x [rows][I], whose logits are x w + bias, w [V][I]: the best token, its logit, the
   logarithm of the sum of exponentials, the entropy in nats, and the logit of `chosen`. bias [V]
   and chosen [rows] may be NULL; no bias is below -1e30. found is [rows][4] beside best [rows].
   0 where there is no memory. */
int EXPORTED(head)(int64_t format, const float *x, int64_t rows, const void *w, int64_t V,
                   int64_t I, const float *bias, const int32_t *chosen_ids, int32_t *best,
                   float *found) {
    const int64_t M = tiled(rows, row_grain(format));
    const int64_t bytes = 4 * M * (I + STRIP) + product_memory(format, M, I) + 4 * M * 4;
    if (!reserve(&scratch, bytes + 6 * LINE)) return 0;
    char *at = scratch.memory;
    float *input = take(&at, 4 * M * I), *logits = take(&at, 4 * M * STRIP);
    float *sums = take(&at, 4 * M * 4);
    memcpy(input, x, 4 * rows * I);
    memset(input + rows * I, 0, 4 * (M - rows) * I);
    if (!start_products(M * I)) return 0;
    for (int64_t m = 0; m < rows; m++) {
        sums[4 * m] = -INFINITY, sums[4 * m + 1] = sums[4 * m + 2] = 0;
        found[4 * m + 3] = 0, best[m] = 0;
    }
    const int64_t panel = format == Q4 ? I / 32 * GROUP : format == INT16 ? 32 * I + 64 : 32 * I;
    for (int64_t o = 0; o < V; o += STRIP) {
        const int64_t n = V - o < STRIP ? V - o : STRIP;
        multiply(format, input, M, (const char *)w + o / 16 * panel, logits, STRIP, n, I, 0, at);
        for (int64_t m = 0; m < rows; m++) {
            float *row = logits + m * STRIP, *sum = sums + 4 * m;
            vec most = spread(-INFINITY);
            for (int64_t i = 0; i < n; i += LANES) {
                vec v = *(vec *)(row + i);
                if (bias) *(vec *)(row + i) = v = v + *(const vec *)(bias + o + i);
                most = chosen(v > most, v, most);
            }
            const float top = greatest(most);
            if (top > sum[0]) {
                for (int64_t i = 0; i < n; i++)
                    if (row[i] == top) {
                        best[m] = o + i;
                        break;
                    }
                /* Sums are of what is below the best so far: e^(x - best) and (x - best) e^(...). */
                const float lower = sum[0] - top, share = lower > -87 ? expf(lower) : 0;
                sum[2] = share * (sum[2] + (share > 0 ? lower * sum[1] : 0));
                sum[1] *= share;
                sum[0] = top;
            }
            vec all = {0}, weighted = {0};
            for (int64_t i = 0; i < n; i += LANES) {
                const vec below = *(vec *)(row + i) - sum[0], power = exponential(below);
                all += power, weighted += below * power;
            }
            sum[1] += total(all), sum[2] += total(weighted);
            if (chosen_ids && chosen_ids[m] >= o && chosen_ids[m] < o + n)
                found[4 * m + 3] = row[chosen_ids[m] - o];
        }
    }
    end_products();
    for (int64_t m = 0; m < rows; m++) {
        const float *sum = sums + 4 * m;
        found[4 * m] = sum[0];
        found[4 * m + 1] = sum[0] + logf(sum[1]);
        found[4 * m + 2] = logf(sum[1]) - sum[2] / sum[1];
    }
    return 1;
}

/* Rows `ids` [n] of weights of 4 bits [.][I], as float32 [n][I]. */
void EXPORTED(rows)(const void *w, const int32_t *ids, int64_t n, int64_t I, float *to) {
    for (int64_t i = 0; i < n; i++) q4_row(w, ids[i], I, to + i * I);
}

/* `rounds` of a form's multiply-adds in registers alone; returns how many operations that were, each
   multiplication and each addition, or 0 where this level has not the form. */
int64_t EXPORTED(peak)(int64_t format, int64_t rounds) { return peak(format, rounds); }

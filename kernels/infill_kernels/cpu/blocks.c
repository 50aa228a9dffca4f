/* A decoder's blocks over a few rows, and its head, in one thread: see native.py, which checks what
   it is given.

   A product takes x in float32 and weights in one of the forms of bf16.h, int16.h, int8.h and q4.h.
   Keys and values are bfloat16 (attention.h).

   All widths are multiples of 32. */

#include "bf16.h"
#ifdef AMX
#include "attention_tiles.h"
#else
#include "attention.h"
#endif
#include "int16.h"
#include "q4.h"
#include "int8.h"
#include "cells.h"
#include "peak.h"

static _Thread_local Scratch scratch, outlines;

/* Memory of a product of M rows by up to `most` inputs. */
static int64_t product_memory(int64_t format, int64_t M, int64_t most) {
    if (format == Q4) return q4_memory(M, most);
    return format == INT8 ? bytes_memory(M, most) : 2 * M * most + 4 * M + 2 * LINE;
}

/* Bytes of 16 outputs' weights. */
static int64_t panel_bytes(int64_t format, int64_t I) {
    if (format == Q4) return I / 32 * GROUP;
    return format == INT8 ? 16 * I + LINE : 32 * I + (format == INT16 ? LINE : 0);
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
    if (format == INT8) {
        bytes_product(x, M, w, y, stride, O, I, add, memory);
        return;
    }
#ifdef AVX2
    if (format == INT16) {
        int16_t *packed = take(&at, 2 * M * I);
        whole_product(x, M, w, y, stride, O, I, add, packed, take(&at, 4 * M));
        return;
    }
#endif
    bf16 *halved = take(&at, 2 * M * I);
    narrow(x, M * I, halved);
    product(halved, M, w, 16 * I, y, stride, O, I, add);
}

static float inverse_norm(const float *x, int64_t n, float epsilon) {
    part sum = {0};
    for (int64_t i = 0; i < n; i += PART) sum += *(const part *)(x + i) * *(const part *)(x + i);
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

/* A head [E], rotated to its position, times `factor`, in place. E / 2 is a multiple of 16. */
static void rotate(float *x, int64_t E, const float *cosine, const float *sine, float factor) {
    for (int64_t i = 0; i < E / 2; i += LANES) {
        vec a = *(vec *)(x + i) * factor, b = *(vec *)(x + E / 2 + i) * factor;
        vec c = *(const vec *)(cosine + i), s = *(const vec *)(sine + i);
        *(vec *)(x + i) = a * c - b * s;
        *(vec *)(x + E / 2 + i) = b * c + a * s;
    }
}

typedef struct {
    float *state, *mixed, *raised, *input, *gated;
    void *product;
    Attention attention;
    Tree tree;
} Work;

/* What all heads of a layer gather, of the queries, keys and values in work->mixed. */
static void attend_layer(Work *work, const Shape *s, const Pass *pass, int64_t layer) {
    const int64_t K = s->kv, G = s->group, E = s->head, Q = K * (G + 2) * E;
    const Tree *tree = pass->parents ? &work->tree : NULL;
    const float scale = 1.0f / sqrtf((float)E);
    for (int64_t h = 0; h < K; h++) {
        if (pass->count) {
            const int64_t base = layer * pass->shared->layer + h * pass->shared->kv_head;
            share(&work->attention, pass->shared->keys + base, pass->shared->values + base, pass, E);
        }
        for (int64_t b = 0; b < pass->rows; b++) {
            const int64_t start = b * pass->tokens;
            const int64_t base =
                layer * pass->cache->layer + b * pass->cache->row + h * pass->cache->kv_head;
            bf16 *keys = pass->cache->keys + base, *values = pass->cache->values + base;
            float *mixed = work->mixed + start * Q + h * (G + 2) * E;
            for (int64_t i = 0; i < pass->tokens; i++) {
                const int64_t position = tree ? tree->depth[pass->at + i] : i;
                const float *c = pass->cosine + position * E / 2, *t = pass->sine + position * E / 2;
                float *part = mixed + i * Q;
                for (int64_t g = 0; g <= G; g++) {
                    float factor = s->normed ? inverse_norm(part + g * E, E, s->epsilon) : 1.0f;
                    rotate(part + g * E, E, c, t, g < G ? factor * scale : factor);
                }
                narrow(part + G * E, E, keys + (pass->at + i) * E);
                narrow(part + (G + 1) * E, E, values + (pass->at + i) * E);
            }
            float *to = work->input + start * s->width + h * G * E;
            attend(&work->attention, s, pass, tree, mixed, Q, keys, values, to, s->width);
        }
    }
}

/* Lays out all that a pass works in. 0 where there is no memory. */
static int lay_out(Work *work, const Shape *s, const Pass *pass, int64_t M) {
    const int64_t D = s->width, F = s->ff, E = s->head, G = s->group, n = pass->tokens;
    const int64_t Q = s->kv * (G + 2) * E, most = D > F ? D : F;
    const int64_t groups = tiled(n * G, LANES) / LANES, all = pass->at + n;
    int64_t entries = 0;
    Tree *tree = pass->parents ? &work->tree : NULL;
    if (tree) {
        if (!reserve(&outlines, 8 * all + sizeof(Group) * groups + 4 * LINE)) return 0;
        char *at = outlines.memory;
        tree->depth = take(&at, 4 * all);
        tree->groups = take(&at, sizeof(Group) * groups);
        entries = outline(tree, pass->parents, pass->at, all, G, take(&at, 4 * all));
    }
    int64_t size = 4 * M * (2 * D + Q + 3 * F) + product_memory(s->format, M, most);
    size += attention_memory(s, pass, tree);
    if (tree) size += entries * (4 + sizeof(ints)) + 4 * all;
    if (!reserve(&scratch, size + 10 * LINE)) return 0;
    char *at = scratch.memory;
    work->state = take(&at, 4 * M * D), work->input = take(&at, 4 * M * D);
    work->mixed = take(&at, 4 * M * Q), work->raised = take(&at, 4 * M * 2 * F);
    work->gated = take(&at, 4 * M * F);
    work->product = take(&at, product_memory(s->format, M, most));
    take_attention(&work->attention, &at, s, pass, tree);
    if (tree) {
        tree->seen = take(&at, 4 * entries), tree->masks = take(&at, sizeof(ints) * entries);
        fill_in(tree, pass->parents, pass->at, all, G, take(&at, 4 * all));
    }
    return start_products(s->format == BF16 ? M * most : 0);
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
            for (int64_t f = 0; f < F; f += PART) {
                const part gate = *(part *)(work.raised + m * 2 * F + f);
                const part value = *(part *)(work.raised + m * 2 * F + F + f);
                const part below = -larger(gate, fill(-88.0f));
                *(part *)(work.gated + m * F + f) = gate / (1.0f + exponential(below)) * value;
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

/* Keys [heads][count][E], heads `stride` apart, turned by one angle for each pair of dimensions, into
   `to`, whose heads are `to_stride` apart. cosine, sine [E / 2]. */
void EXPORTED(turn)(const bf16 *keys, int64_t heads, int64_t count, int64_t E, int64_t stride,
                    const float *cosine, const float *sine, bf16 *to, int64_t to_stride) {
    for (int64_t h = 0; h < heads; h++, keys += stride, to += to_stride)
        for (int64_t j = 0; j < count * E; j += E)
            for (int64_t i = 0; i < E / 2; i += LANES) {
                const vec a = widened_halves(keys + j + i), b = widened_halves(keys + j + E / 2 + i);
                const vec c = *(const vec *)(cosine + i), s = *(const vec *)(sine + i);
                *(halves *)(to + j + i) = rounded(a * c - b * s);
                *(halves *)(to + j + E / 2 + i) = rounded(b * c + a * s);
            }
}

#define STRIP 512 /* outputs of a head at a time */

/* Puts what is greater than the last of the `count` greatest so far among them, the greatest first;
   of equals the earlier one. */
static void insert(const float *row, int64_t n, int64_t start, int64_t count, float *most,
                   int32_t *ids) {
    for (int64_t i = 0; i < n; i++) {
        if (!(row[i] > most[count - 1])) continue;
        int64_t at = count - 1;
        for (; at && row[i] > most[at - 1]; at--) most[at] = most[at - 1], ids[at] = ids[at - 1];
        most[at] = row[i], ids[at] = (int32_t)(start + i);
    }
}

/* What is asked of the logits of some rows, x w + bias, w [V][I]: the `count` best tokens and their
   logits, best first, the logarithm of the sum of exponentials, the entropy in nats, and the logit
   of `chosen`. biases [.][V], none of them below -1e30, of which a row has number which [rows] or
   the first; biases, which and chosen [rows] may be NULL. `at` [rows] says which rows of x they
   are, in order where it is NULL. best and most are [rows][count], found is [rows][3]. */
typedef struct {
    int64_t format, rows;
    const void *w;
    int64_t V, I, count;
    const float *biases;
    const int32_t *which, *at, *chosen;
    int32_t *best;
    float *most, *found;
} Asked;

/* x [.][I]. 0 where there is no memory. */
int EXPORTED(head)(const Asked *asked, const float *x) {
    const int64_t format = asked->format, rows = asked->rows, I = asked->I, V = asked->V;
    const int64_t count = asked->count, M = tiled(rows, row_grain(format));
    const int64_t bytes = 4 * M * (I + STRIP) + product_memory(format, M, I) + 4 * M * 4;
    if (!reserve(&scratch, bytes + 6 * LINE)) return 0;
    char *at = scratch.memory;
    float *input = take(&at, 4 * M * I), *logits = take(&at, 4 * M * STRIP);
    float *sums = take(&at, 4 * M * 4);
    for (int64_t m = 0; m < rows; m++)
        memcpy(input + m * I, x + (asked->at ? asked->at[m] : m) * I, 4 * I);
    memset(input + rows * I, 0, 4 * (M - rows) * I);
    if (!start_products(M * I)) return 0;
    for (int64_t m = 0; m < rows; m++) {
        sums[4 * m] = -INFINITY, sums[4 * m + 1] = sums[4 * m + 2] = 0;
        asked->found[3 * m + 2] = 0;
        for (int64_t i = m * count; i < (m + 1) * count; i++)
            asked->most[i] = -INFINITY, asked->best[i] = 0;
    }
    const int64_t panel = panel_bytes(format, I);
    for (int64_t o = 0; o < V; o += STRIP) {
        const int64_t n = V - o < STRIP ? V - o : STRIP;
        multiply(format, input, M, (const char *)asked->w + o / 16 * panel, logits, STRIP, n, I, 0,
                 at);
        for (int64_t m = 0; m < rows; m++) {
            float *row = logits + m * STRIP, *sum = sums + 4 * m;
            const float *bias = asked->biases;
            if (bias) bias += (asked->which ? asked->which[m] : 0) * V + o;
            part most = fill(-INFINITY);
            for (int64_t i = 0; i < n; i += PART) {
                part v = *(part *)(row + i);
                if (bias) *(part *)(row + i) = v = v + *(const part *)(bias + i);
                most = larger(v, most);
            }
            const float top = greatest(most);
            if (top > asked->most[(m + 1) * count - 1])
                insert(row, n, o, count, asked->most + m * count, asked->best + m * count);
            if (top > sum[0]) {
                /* Sums are of what is below the best so far: e^(x - best) and (x - best) e^(...). */
                const float lower = sum[0] - top, share = lower > -87 ? expf(lower) : 0;
                sum[2] = share * (sum[2] + (share > 0 ? lower * sum[1] : 0));
                sum[1] *= share;
                sum[0] = top;
            }
            part all = {0}, weighted = {0};
            for (int64_t i = 0; i < n; i += PART) {
                const part below = *(part *)(row + i) - sum[0], power = exponential(below);
                all += power, weighted += below * power;
            }
            sum[1] += total(all), sum[2] += total(weighted);
            if (asked->chosen && asked->chosen[m] >= o && asked->chosen[m] < o + n)
                asked->found[3 * m + 2] = row[asked->chosen[m] - o];
        }
    }
    end_products();
    for (int64_t m = 0; m < rows; m++) {
        const float *sum = sums + 4 * m;
        asked->found[3 * m] = sum[0] + logf(sum[1]);
        asked->found[3 * m + 1] = logf(sum[1]) - sum[2] / sum[1];
    }
    return 1;
}

/* What is told of the cells of a canvas: of the rows that were asked about, each at its place. */
typedef struct {
    const int32_t *places;
    int64_t *best;
    float *entropy, *confidence;
} Told;

/* A step of a canvas: x is normed, then come all blocks, the last norm with its gain [width] or NULL,
   and a head that says one token of each row. What comes between two calls finds little of itself
   in the caches near the core, so there is one. */
int EXPORTED(said)(const Shape *s, const void *const *weights, const float *const *gains,
                   const Pass *pass, float *x, const float *final, const Asked *asked,
                   const Told *told) {
    const int64_t R = pass->rows * pass->tokens;
    normed(x, R, s->width, s->epsilon, NULL, x);
    if (!EXPORTED(blocks)(s, weights, gains, 0, s->layers, pass, x)) return 0;
    normed(x, R, s->width, s->epsilon, final, x);
    if (!EXPORTED(head)(asked, x)) return 0;
    for (int64_t m = 0; m < asked->rows; m++) {
        const int64_t place = told->places[m];
        told->best[place] = asked->best[m];
        told->entropy[place] = asked->found[3 * m + 1];
        told->confidence[place] = expf(asked->most[m] - asked->found[3 * m]);
    }
    return 1;
}

/* Rows `ids` [n] of weights of 4 bits [.][I], as float32 [n][I]. */
void EXPORTED(rows)(const void *w, const int32_t *ids, int64_t n, int64_t I, float *to) {
    for (int64_t i = 0; i < n; i++) q4_row(w, ids[i], I, to + i * I);
}

/* A step of `rows` rows of a canvas, each array [rows][cells], in place; see cells.h. ends [V] are the
   tokens that end a hole, or NULL. Rows that are done [rows] stay as they are. 0 where there is no
   memory. */
int EXPORTED(settle)(const Rules *rules, int64_t rows, const Row *all, const uint8_t *ends,
                     uint8_t *done) {
    const int64_t T = rules->cells;
    if (!reserve(&scratch, 3 * 8 * T + T + 4 * LINE)) return 0;
    char *at = scratch.memory;
    int64_t *next = take(&at, 8 * T), *read = take(&at, 8 * T), *order = take(&at, 8 * T);
    uint8_t *flags = take(&at, T);
    for (int64_t b = 0, c = 0; b < rows; b++, c += T) {
        const Row row = {all->hole + c, all->best + c, all->sample + c, all->entropy + c,
                         all->confidence + c, all->token_ids + c, all->read + c, all->shown + c,
                         all->decided + c};
        if (!done[b]) done[b] = settle_row(rules, &row, ends, next, read, order, flags);
    }
    return 1;
}

/* `rounds` of a form's multiply-adds in registers alone; returns how many operations that were, each
   multiplication and each addition, or 0 where this level has not the form. */
int64_t EXPORTED(peak)(int64_t format, int64_t rounds) { return peak(format, rounds); }

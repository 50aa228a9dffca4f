/* Calls the compiled routine over ragged shapes, for a build with sanitizers: see test_sanitised.py.

   Every buffer is exactly as large as the routine may touch, and comes from `malloc`, so that a
   step beyond it is noticed. Allocations of the routine itself fail in turn. */

#include <stdio.h>
#include <stdlib.h>

static int64_t allowed = -1; /* allocations until one fails; below 0 none does */

static void *counted_alloc(size_t alignment, size_t size) {
    if (allowed == 0) return NULL;
    if (allowed > 0) allowed--;
    return aligned_alloc(alignment, size);
}

#define aligned_alloc counted_alloc
#include "blocks.c"
#undef aligned_alloc

#define CHECK(condition)                                                   \
    do {                                                                   \
        if (!(condition)) {                                                \
            fprintf(stderr, "line %d: not %s\n", __LINE__, #condition);    \
            exit(1);                                                       \
        }                                                                  \
    } while (0)

static uint32_t state = 1;

static float uniform(void) { /* -1 to 1 */
    state = state * 1664525u + 1013904223u;
    return (float)(int32_t)state / 2147483648.0f;
}

static float *floats(int64_t count) {
    float *made = malloc(4 * count);
    for (int64_t i = 0; i < count; i++) made[i] = uniform();
    return made;
}

static bf16 *bf16s(int64_t count) {
    bf16 *made = malloc(2 * count);
    for (int64_t i = 0; i < count; i++) {
        float x = uniform() / 8;
        uint32_t u;
        memcpy(&u, &x, 4);
        made[i] = u >> 16;
    }
    return made;
}

static int finite_all(const float *x, int64_t count) {
    for (int64_t i = 0; i < count; i++)
        if (!isfinite(x[i])) return 0;
    return 1;
}

static void forget(void) { /* the memory that calls before have left */
    free(scratch.memory);
    scratch = (Scratch){0};
#ifndef TILES
    free(widened.memory);
    widened = (Scratch){0};
#endif
}

static void products(void) {
    const int64_t rows[] = {1, 2, 3, 5, 16, 33}, outputs[] = {16, 32, 48}, inputs[] = {32, 96};
    for (int r = 0; r < 6; r++)
        for (int o = 0; o < 3; o++)
            for (int i = 0; i < 2; i++) {
                int64_t R = rows[r], O = outputs[o], I = inputs[i];
                float *x = floats(R * I), *y = malloc(4 * R * O);
                bf16 *w = bf16s(O / 16 * PANEL(I));
                CHECK(infill_product(x, R, w, y, O, I));
                CHECK(finite_all(y, R * O));
                free(x), free(y), free(w);
            }
}

typedef struct {
    int64_t rows, n, at, seen, count, spare; /* spare places in the caches behind what is used */
} Call;

static void blocks(Shape shape, Call call) {
    const int64_t D = shape.width, K = shape.kv, G = shape.group, E = shape.head, F = shape.ff;
    const int64_t L = shape.layers, Q = K * (G + 2) * E, R = call.rows * call.n;
    const int64_t all = call.seen ? call.seen : call.at + call.n, N = all + call.spare;
    bf16 *weights = bf16s(L * ((Q + D + 2 * F) * PANEL(D) + D * PANEL(F)) / 16);
    float *x = floats(R * D);
    /* All rows but the first are as long as n; it is shorter, but for a canvas. */
    int64_t *starts = malloc(8 * (call.rows + 1));
    for (int64_t b = 0; b <= call.rows; b++) {
        starts[b] = b * call.n;
        if (b && !call.seen && call.rows > 1) starts[b] -= call.n / 2;
    }
    float *cosine = floats(call.n * E / 2), *sine = floats(call.n * E / 2);
    Cache own = {.keys = bf16s(L * call.rows * K * N * E), .values = bf16s(L * call.rows * K * N * E),
                 .layer = call.rows * K * N * E, .row = K * N * E, .kv_head = N * E};
    Cache shared = {0};
    if (call.count) {
        shared.keys = bf16s(L * K * call.count * E), shared.values = bf16s(L * K * call.count * E);
        shared.layer = K * call.count * E, shared.kv_head = call.count * E;
    }
    for (int64_t failing = 0;; failing++) {
        forget();
        allowed = failing;
        float before = x[0];
        int done = infill_blocks(&shape, weights, x, call.rows, starts, call.n, cosine, sine,
                                 &shared, call.count, &own, call.at, call.seen);
        if (done) break;
        CHECK(x[0] == before);
        CHECK(failing < 8);
    }
    allowed = -1;
    CHECK(finite_all(x, starts[call.rows] * D));
    free(weights), free(x), free(starts), free(cosine), free(sine);
    free(own.keys), free(own.values), free(shared.keys), free(shared.values);
}

int main(void) {
    if (!infill_ready()) return 2;
    products();
    const Shape shapes[] = {
        {.layers = 2, .width = 128, .kv = 2, .group = 2, .head = 32, .ff = 96},
        {.layers = 1, .width = 96, .kv = 1, .group = 3, .head = 32, .ff = 32},
        {.layers = 1, .width = 64, .kv = 1, .group = 1, .head = 64, .ff = 160},
    };
    const Call calls[] = {
        {1, 1, 0, 0, 0, 0},   {1, 1, 40, 0, 0, 0},  {2, 1, 41, 42, 0, 3}, {3, 16, 30, 46, 0, 0},
        {1, 16, 64, 80, 0, 0}, {2, 5, 63, 0, 0, 1}, {1, 70, 0, 0, 0, 0},  {2, 7, 10, 77, 0, 0},
        {2, 3, 0, 0, 1, 0},   {3, 16, 13, 29, 17, 0}, {1, 5, 3, 0, 33, 2}, {2, 1, 0, 1, 64, 0},
    };
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
        for (size_t c = 0; c < sizeof calls / sizeof *calls; c++) blocks(shapes[s], calls[c]);
    forget();
    puts("every call came back");
    return 0;
}

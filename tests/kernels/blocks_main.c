/* Calls the routines over ragged shapes.

       blocks_main                        those that are compiled in: see test_sanitised.py
       blocks_main LIBRARY LEVEL FILE     a library's, what they give into a file: test_prebuilt.py

   Every buffer is exactly as large as the routine may touch, and comes from `malloc`, so that
   sanitizers notice a step beyond it. Allocations of the routine itself fail in turn. */

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#ifdef _WIN32
/* Of <windows.h>, whose names are ours too. */
__declspec(dllimport) void *__stdcall LoadLibraryA(const char *path);
__declspec(dllimport) void *__stdcall GetProcAddress(void *library, const char *name);
#define OPEN(name) LoadLibraryA(name)
#define FIND(library, name) GetProcAddress(library, name)
#else
#include <dlfcn.h>
#define OPEN(name) dlopen(name, RTLD_NOW)
#define FIND(library, name) dlsym(library, name)
#endif

static int64_t allowed = -1; /* allocations until one fails; below 0 none does */

static void *counted_alloc(size_t alignment, size_t size) {
    if (allowed == 0) return NULL;
    if (allowed > 0) allowed--;
    return aligned_alloc(alignment, size);
}

#define aligned_alloc counted_alloc
#include "host.c"
#undef aligned_alloc

#define ROUTINE(name) static __typeof__(EXPORTED(name)) *called_##name = EXPORTED(name);
#define EACH(DO)                                                                            \
    DO(ready) DO(format) DO(product) DO(blocks) DO(norm) DO(head) DO(said) DO(turn) DO(rows) \
    DO(settle)
EACH(ROUTINE)
static FILE *told; /* what the routines gave, float32 */

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

static void tell(const float *x, int64_t count) {
    for (int64_t i = 0; i < count; i++) CHECK(isfinite(x[i]));
    if (told) CHECK(fwrite(x, 4, count, told) == (size_t)count);
}

static void forget(void) { /* the memory that calls before have left */
    free(scratch.memory);
    scratch = (Scratch){0};
    free(outlines.memory);
    outlines = (Scratch){0};
#ifndef AMX
    free(widened.memory);
    widened = (Scratch){0};
#endif
}

/* Weights [O][I] in one of the forms, of no particular values but finite ones. */
static void *weights_of(int64_t form, int64_t O, int64_t I) {
    if (form == BF16) return bf16s(O * I);
    const int64_t groups = form == Q4 ? O / 16 * I / 32 : 0;
    const int64_t size = O / 16 * panel_bytes(form, I);
    uint8_t *made = malloc(size);
    for (int64_t i = 0; i < size; i++) made[i] = 128 + (int)(uniform() * 100);
    for (int64_t g = 0; g < groups; g++) /* float16: scales near 0.01, minima near -0.08 */
        for (int i = 0; i < 64; i += 2) made[g * GROUP + SCALES + i + 1] = i < 32 ? 0x21 : 0xad;
    if (form == INT16 || form == INT8)
        for (int64_t o = 0; o < O / 16; o++)
            for (int i = 0; i < 16; i++) {
                const float scale = form == INT16 ? 1e-5f : 1e-3f;
                memcpy(made + (o + 1) * panel_bytes(form, I) - LINE + 4 * i, &scale, 4);
            }
    return made;
}

static void products(int64_t form) {
    const int64_t rows[] = {1, 2, 3, 5, 16, 33}, outputs[] = {16, 32, 48, 80}, inputs[] = {32, 96};
    for (int r = 0; r < 6; r++)
        for (int o = 0; o < 4; o++)
            for (int i = 0; i < 2; i++) {
                int64_t R = rows[r], O = outputs[o], I = inputs[i];
                float *x = floats(R * I), *y = malloc(4 * R * O);
                void *w = weights_of(form, O, I);
                CHECK(called_product(form, x, R, w, y, O, I));
                tell(y, R * O);
                const int64_t count = 1 + R % 3;
                int32_t *best = malloc(4 * R * count), *asked = malloc(4 * R);
                int32_t *which = malloc(4 * R), *at = malloc(4 * R);
                float *found = malloc(12 * R), *most = malloc(4 * R * count), *bias = floats(2 * O);
                for (int64_t m = 0; m < R; m++) asked[m] = m % O, which[m] = m % 2, at[m] = R - 1 - m;
                const Asked all = {form, R, w, O, I, count, bias, which, at, asked, best, most, found};
                CHECK(called_head(&all, x));
                tell(found, 3 * R), tell(most, R * count);
                for (int64_t m = 0; m < R * count; m++) {
                    CHECK(best[m] >= 0 && best[m] < O);
                    CHECK(m % count == 0 || (most[m] <= most[m - 1] && best[m] != best[m - 1]));
                }
                if (form == Q4) called_rows(w, asked, 1, I, x), tell(x, I);
                free(x), free(y), free(w), free(best), free(asked), free(found), free(most), free(bias);
                free(which), free(at);
            }
}

static void turns(void) {
    for (int64_t E = 32; E <= 96; E += 32)
        for (int64_t count = 0; count <= 5; count += 5) {
            const int64_t heads = 3, apart = (count + 2) * E, to_apart = (count + 1) * E;
            const int64_t size = (heads - 1) * to_apart + count * E;
            bf16 *keys = bf16s((heads - 1) * apart + count * E), *to = bf16s(size);
            float *cosine = floats(E / 2), *sine = floats(E / 2), *wide = malloc(4 * size);
            called_turn(keys, heads, count, E, apart, cosine, sine, to, to_apart);
            for (int64_t i = 0; i < size; i++) {
                const uint32_t u = (uint32_t)to[i] << 16;
                memcpy(wide + i, &u, 4);
            }
            tell(wide, size);
            free(keys), free(to), free(cosine), free(sine), free(wide);
        }
}

static void cells(void) {
    for (int64_t T = 1; T <= 40; T += 13) {
        const int64_t rows = 3, V = 9, size = rows * T;
        int64_t *ids[5]; /* hole, best, sample, token_ids, read */
        float *entropy = floats(size), *confidence = floats(size), *shown = floats(size);
        uint8_t *decided = calloc(size, 1), ends[9] = {0, 0, 0, 1, 0, 0, 1}, done[3] = {0, 1, 0};
        for (int i = 0; i < 5; i++) {
            ids[i] = malloc(8 * size);
            for (int64_t c = 0; c < size; c++) ids[i][c] = (int64_t)((uniform() + 1) * 4.4f) % V;
        }
        for (int64_t c = 0; c < size; c++) ids[0][c] = ids[0][c] % 4 - 1;
        entropy[0] = NAN;
        for (int64_t step = 1; step <= 4; step++) {
            const Rules rules = {T, 1, 3, T / 2, 5 - step, step, 0.5f, 0.5f, 0.25f};
            const Row row = {ids[0], ids[1], ids[2], entropy, confidence, ids[3], ids[4], shown, decided};
            CHECK(called_settle(&rules, rows, &row, step == 2 ? NULL : ends, done));
            for (int64_t c = 0; c < size; c++) {
                CHECK(ids[3][c] >= 0 && ids[3][c] < V && ids[4][c] >= 0 && ids[4][c] < V);
                const float told_of[] = {ids[3][c], ids[4][c], decided[c], done[c / T]};
                tell(told_of, 4);
            }
        }
        for (int i = 0; i < 5; i++) free(ids[i]);
        free(entropy), free(confidence), free(shown), free(decided);
    }
}

typedef struct {
    int64_t rows, n, at, seen, count, spare; /* spare places in the caches behind what is used */
    int tree;
} Call;

static void blocks(Shape shape, Call call) {
    const int64_t D = shape.width, K = shape.kv, G = shape.group, E = shape.head, F = shape.ff;
    const int64_t L = shape.layers, Q = K * (G + 2) * E, R = call.rows * call.n;
    const int64_t all = call.seen ? call.seen : call.at + call.n, N = all + call.spare;
    const void **weights = malloc(8 * 4 * L);
    const float **gains = malloc(8 * 2 * L);
    for (int64_t l = 0; l < L; l++) {
        weights[4 * l] = weights_of(shape.format, Q, D);
        weights[4 * l + 1] = weights_of(shape.format, D, D);
        weights[4 * l + 2] = weights_of(shape.format, 2 * F, D);
        weights[4 * l + 3] = weights_of(shape.format, D, F);
        gains[2 * l] = floats(D), gains[2 * l + 1] = floats(D);
    }
    const int64_t nodes = call.at + call.n;
    float *x = floats(R * D), *again = malloc(4 * R * D), *cosine = floats(nodes * E / 2), *sine = floats(nodes * E / 2);
    int32_t *parents = malloc(4 * nodes);
    for (int64_t i = 0; i < nodes; i++) parents[i] = i % 5 ? i - 1 : i / 2 - 1;
    Cache own = {.keys = bf16s(L * call.rows * K * N * E), .values = bf16s(L * call.rows * K * N * E),
                 .layer = call.rows * K * N * E, .row = K * N * E, .kv_head = N * E};
    Cache shared = {0};
    if (call.count) {
        shared.keys = bf16s(L * K * call.count * E), shared.values = bf16s(L * K * call.count * E);
        shared.layer = K * call.count * E, shared.kv_head = call.count * E;
    }
    const Pass pass = {call.rows, call.n, call.tree ? parents : NULL, cosine, sine, &shared, &own,
                       call.count, call.at, call.seen};
    memcpy(again, x, 4 * R * D);
    called_norm(x, R, D, shape.epsilon, NULL);
    for (int64_t failing = 0;; failing++) {
        forget();
        allowed = failing;
        float before = x[0];
        int done = called_blocks(&shape, weights, shape.normed ? NULL : gains, 0, L, &pass, x);
        if (done) break;
        CHECK(x[0] == before);
        CHECK(failing < 8);
    }
    allowed = -1;
    called_norm(x, R, D, shape.epsilon, gains[0]);
    tell(x, R * D);
    void *w = weights_of(shape.format, 32, D);
    int32_t best[2], at[2] = {R - 1, 0};
    float most[4], found[12];
    const float *const *gain;
    Asked asked = {shape.format, 2, w, 32, D, 1, NULL, NULL, at, NULL, best, most, found};
    CHECK(called_head(&asked, x));
    asked.most = most + 2, asked.found = found + 6;
    int64_t tokens[4];
    float entropy[4], confidence[4];
    const int32_t places[2] = {3, 1};
    const Told of = {places, tokens, entropy, confidence};
    gain = shape.normed ? NULL : gains;
    CHECK(called_said(&shape, weights, gain, &pass, again, gains[0], &asked, &of));
    CHECK(memcmp(again, x, 4 * R * D) == 0 && memcmp(found, found + 6, 24) == 0);
    CHECK(memcmp(most, most + 2, 8) == 0);
    for (int i = 0; i < 2; i++)
        CHECK(tokens[places[i]] == best[i] && entropy[places[i]] == found[3 * i + 1]);
    tell(confidence + 3, 1);
    free(w), free(again);
    for (int64_t i = 0; i < 4 * L; i++) free((void *)weights[i]);
    for (int64_t i = 0; i < 2 * L; i++) free((void *)gains[i]);
    free(weights), free(gains), free(x), free(cosine), free(sine), free(parents);
    free(own.keys), free(own.values), free(shared.keys), free(shared.values);
}

static void take_from(const char *path, const char *level) {
    void *library = OPEN(path);
    CHECK(library != NULL);
    char name[64];
#define TAKE(routine)                                                      \
    snprintf(name, sizeof name, "infill_%s_" #routine, level);             \
    CHECK((called_##routine = (void *)FIND(library, name)) != NULL);
    EACH(TAKE)
}

int main(int count, char **given) {
    if (count == 4) {
        take_from(given[1], given[2]);
        CHECK((told = fopen(given[3], "wb")) != NULL);
    }
    if (!called_ready()) return 2;
    const int64_t forms[] = {BF16, called_format(), Q4, INT8};
    Shape shapes[] = {
        {.layers = 2, .width = 128, .kv = 2, .group = 2, .head = 32, .ff = 96, .normed = 1},
        {.layers = 1, .width = 96, .kv = 1, .group = 3, .head = 32, .ff = 32},
        {.layers = 1, .width = 64, .kv = 1, .group = 1, .head = 64, .ff = 160},
    };
    const Call calls[] = {
        {1, 1, 0, 0, 0, 0, 0},    {1, 1, 40, 0, 0, 0, 0},   {2, 1, 41, 42, 0, 3, 0},
        {3, 16, 30, 46, 0, 0, 0}, {1, 16, 64, 80, 0, 0, 0}, {2, 5, 63, 0, 0, 1, 0},
        {1, 70, 0, 0, 0, 0, 0},   {2, 7, 10, 77, 0, 0, 0},  {2, 3, 0, 0, 1, 0, 0},
        {3, 16, 13, 29, 17, 0, 0}, {1, 5, 3, 0, 33, 2, 0},  {2, 1, 0, 1, 64, 0, 0},
        {1, 1, 0, 0, 0, 0, 1},    {1, 37, 0, 0, 19, 0, 1},  {1, 16, 5, 0, 0, 3, 1},
    };
    for (int f = 0; f < 4; f++) {
        state = 1; /* the same for a form whatever was before it */
        products(forms[f]);
        turns();
        cells();
        for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
            shapes[s].format = forms[f], shapes[s].epsilon = 1e-6f;
            for (size_t c = 0; c < sizeof calls / sizeof *calls; c++) blocks(shapes[s], calls[c]);
        }
    }
    forget();
    if (told) CHECK(fclose(told) == 0);
    puts("every call came back");
    return 0;
}

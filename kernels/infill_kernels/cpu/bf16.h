/* The product of bfloat16 matrices, summed in float32.

   Weights stand as [O / 16][I / 32][16][16][2], which is what a tile of AMX reads, and what
   vectors of any other CPU can be taken from by a shift and a mask. */

#include "level.h"

#ifdef AMX
#define ROWS 16 /* that `product` does at a time */
#else
#define ROWS 4
#endif

typedef uint32_t words __attribute__((vector_size(4 * WIDTH), aligned(4), may_alias));

/* x [rows][I] times w [O][I] gives y [rows][O], or is added to it. `rows` is a multiple of
   ROWS; `panel` is from one 16 of O to the next, `stride` from one row of y to the next. */
#ifdef AMX

/* To GCC what loads a tile reads no memory: what was written before has to be there. */
static inline void stored(void) { __asm__ volatile("" ::: "memory"); }

/* Tiles 0 to 3 are sums, 4 and 5 rows of x, 6 and 7 weights: `depth` times 4 bytes of each. */
static void set_tiles(int depth) {
    struct {
        uint8_t palette, start, reserved[14];
        uint16_t columns[16];
        uint8_t rows[16];
    } __attribute__((packed)) tiles = {.palette = 1};
    for (int i = 0; i < 8; i++) {
        tiles.columns[i] = i == 4 || i == 5 ? 4 * depth : 64;
        tiles.rows[i] = i < 6 ? 16 : depth;
    }
    stored();
    _tile_loadconfig(&tiles);
}

static int start_products(int64_t size) {
    (void)size;
    set_tiles(16);
    return 1;
}

static void end_products(void) { _tile_release(); }

/* One or two tiles of rows by one or two panels of weights; the flags are known when compiled. */
INLINE void tile(const bf16 *x, const bf16 *w, int64_t panel, float *y, int64_t stride, int64_t I,
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

/* Up to six rows by one or two panels, all known when compiled. x is in float32: a CPU multiplies
   by a number in memory without loading it first, but does not widen it on the way. */
INLINE void strip(const float *x, const bf16 *w, int64_t panel, float *y, int64_t stride,
                  int64_t I, int add, int rows, int panels) {
    part sum[6][2 * PARTS];
#pragma GCC unroll 6
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 8
        for (int p = 0; p < panels * PARTS; p++)
            sum[r][p] = add ? *(part *)(y + r * stride + p * WIDTH) : (part){0};
    for (int64_t i = 0; i < I; i += 2)
#pragma GCC unroll 8
        for (int p = 0; p < panels * PARTS; p++) {
            const bf16 *at = w + p / PARTS * panel + 16 * i + p % PARTS * 2 * WIDTH;
            words weights = *(const words *)at;
            part first = (part)(weights << 16), second = (part)(weights & 0xffff0000u);
#pragma GCC unroll 6
            for (int r = 0; r < rows; r++) {
                sum[r][p] += x[r * I + i] * first;
                sum[r][p] += x[r * I + i + 1] * second;
            }
        }
#pragma GCC unroll 6
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 8
        for (int p = 0; p < panels * PARTS; p++) *(part *)(y + r * stride + p * WIDTH) = sum[r][p];
}

static _Thread_local Scratch widened; /* x in float32 */

/* Makes ready for products of at most `size` numbers of x, until `end_products`. 0 where there is
   no memory. */
static int start_products(int64_t size) { return reserve(&widened, 4 * size); }

static void end_products(void) {}

static void product(const bf16 *x, int64_t rows, const bf16 *w, int64_t panel, float *y,
                    int64_t stride, int64_t O, int64_t I, int add) {
    float *wide = (float *)widened.memory;
    for (int64_t i = 0; i < rows * I; i += LANES)
        *(bits *)(wide + i) = __builtin_convertvector(*(const halves *)(x + i), bits) << 16;
    int64_t o = 0;
    for (; WIDTH == 16 && o + 16 < O; o += 32, w += 2 * panel)
        for (int64_t m = 0; m < rows; m += 4)
            strip(wide + m * I, w, panel, y + m * stride + o, stride, I, add, 4, 2);
    for (; o < O; o += 16, w += panel) {
        int64_t m = 0;
        /* Sixteen registers hold the sums of six rows, what is widened is used by all of them. */
        for (; WIDTH == 8 && m + 6 <= rows; m += 6)
            strip(wide + m * I, w, panel, y + m * stride + o, stride, I, add, 6, 1);
        for (; m + 4 <= rows; m += 4)
            strip(wide + m * I, w, panel, y + m * stride + o, stride, I, add, 4, 1);
        if (m < rows) strip(wide + m * I, w, panel, y + m * stride + o, stride, I, add, 2, 1);
    }
}

#endif

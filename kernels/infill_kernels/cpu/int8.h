/* Products of whole numbers of 8 bits: each output has a scale, and each row of x, as it comes.

   Weights stand as [O / 16][I / 4][16][4], 128 added to each so that it has no sign, for a CPU
   multiplies a number without one by a number with one; then, for each 16 outputs, 16 scales,
   float32. 128 times the sum of a row is taken off again, from where its sums begin.

   AVX2 and AVX-512 alone add such products in 16 bits, which do not hold two of 255 * 127: there
   codes are widened on the way, the first and third of four inputs by a mask, the others by a
   shift, and rows of x are kept in 16 bits. Rows are packed in blocks of up to BYTES_BLOCK. Stands
   behind int16.h and q4.h, whose names for a CPU's instructions it uses. */

#include "level.h"

#if defined(AVX2) && !defined(VNNI) && !defined(AVXVNNI)
#define WIDENED 1
#define LOWER(codes) ((whole)((codes) & WHOLE(set1_epi16)(255)))
#define FOURS 2 /* times 32 bits, that four numbers of a row take */
#else
#define FOURS 1
#endif

#if defined(WIDENED) && !defined(AVX512)
#define BYTES_BLOCK 4 /* for sixteen registers hold a mask and what is widened as well */
#else
#define BYTES_BLOCK 6
#endif

#ifdef DOTPROD /* multiplies numbers with signs alone */
#define OFFSET 0
#define BYTES(at) vreinterpretq_s8_u8(veorq_u8(vld1q_u8(at), vdupq_n_u8(128)))
#define REAL(sum) vcvtq_f32_s32(vreinterpretq_s32_s8(sum))
#else
#define OFFSET 128
#define BYTES(at) CODES(at)
#if defined(AVX512)
#define REAL(sum) _mm512_cvtepi32_ps(sum)
#elif defined(AVX2)
#define REAL(sum) _mm256_cvtepi32_ps(sum)
#else
#define REAL(sum) __builtin_convertvector((ints)(sum), vec)
#endif
#endif

/* A row x [I], four numbers at a time, which are `rows` times FOURS apart; returns its scale, and
   in `start` what its sums begin with. */
static float bytes_row(const float *x, int64_t I, int64_t rows, int32_t *fours, int32_t *start) {
    part most = {0};
    for (int64_t i = 0; i < I; i += PART) most = larger(magnitude(*(const part *)(x + i)), most);
    float size = greatest(most);
    if (!(size > 1e-30f)) size = 1e-30f;
    const float inverse = 127.0f / size;
    ints sum = {0};
    for (int64_t i = 0; i < I; i += LANES) {
        const ints found = nearest(*(const vec *)(x + i) * inverse);
        sum += found;
        int32_t *to = fours + i / 4 * rows * FOURS;
#ifdef WIDENED
        for (int k = 0; k < 4; k++, to += rows * FOURS) {
            to[0] = (int32_t)((found[4 * k] & 0xffff) | (uint32_t)found[4 * k + 2] << 16);
            to[1] = (int32_t)((found[4 * k + 1] & 0xffff) | (uint32_t)found[4 * k + 3] << 16);
        }
#else
        union {
            bytes packed;
            int32_t four[4];
        } codes = {.packed = __builtin_convertvector(found, bytes)};
        for (int k = 0; k < 4; k++) to[k * rows] = codes.four[k];
#endif
    }
    int32_t all = 0;
    for (int i = 0; i < LANES; i++) all += sum[i];
    *start = -OFFSET * all;
    return size / 127.0f;
}

/* A block of `rows` by `panels` panels of weights; both are known when compiled. */
INLINE void bytes_block(const int32_t *x, const int32_t *starts, const float *scales,
                        const uint8_t *w, int64_t panel, float *y, int64_t stride, int64_t I,
                        int add, int rows, int panels) {
    Codes sum[BYTES_BLOCK][4 * REGISTERS];
#pragma GCC unroll 6
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 16
        for (int p = 0; p < panels * REGISTERS; p++) sum[r][p] = FOUR(starts + r);
    for (int64_t k = 0; k < I / 4; k++, x += rows * FOURS)
#pragma GCC unroll 4
        for (int p = 0; p < panels; p++) {
            const uint8_t *at = w + p * panel + 64 * k;
            __builtin_prefetch(at + AHEAD);
#pragma GCC unroll 2
            for (int f = 0; f < FOURS; f++) {
                Codes weights[REGISTERS];
#pragma GCC unroll 4
                for (int q = 0; q < REGISTERS; q++) {
                    weights[q] = BYTES(at + 4 * WIDTH * q);
#ifdef WIDENED
                    if (f) weights[q] = WHOLE(srli_epi16)(weights[q], 8);
                    if (!f) weights[q] = LOWER(weights[q]);
#endif
                }
#pragma GCC unroll 6
                for (int r = 0; r < rows; r++) {
                    const Codes four = FOUR(x + r * FOURS + f);
#pragma GCC unroll 4
                    for (int q = 0; q < REGISTERS; q++) {
                        Codes *to = &sum[r][REGISTERS * p + q];
#ifdef WIDENED
                        *to = plus_products(*to, four, weights[q]);
#else
                        *to = DOT(*to, weights[q], four);
#endif
                    }
                }
            }
        }
#pragma GCC unroll 6
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 16
        for (int p = 0; p < panels * REGISTERS; p++) {
            const uint8_t *of = w + p / REGISTERS * panel + 16 * I;
            const Floats scale = GET((const float *)of + p % REGISTERS * WIDTH);
            float *to = y + r * stride + p * WIDTH;
            const Floats found = TIMES(REAL(sum[r][p]), TIMES(scale, SAME(scales[r])));
            SET(to, FMA(found, SAME(1.0f), add ? GET(to) : SAME(0.0f)));
        }
}

#ifdef AMX
/* One or two tiles of rows by one or two panels, `depth` times four inputs at a time; the flags are
   known when compiled. */
INLINE void bytes_tile(const int8_t *x, const int32_t *starts, const float *scales,
                       const uint8_t *w, int64_t panel, float *y, int64_t stride, int64_t I,
                       int add, int64_t rows, int64_t depth, int tall, int wide) {
    int32_t dots[4][16][16] __attribute__((aligned(64)));
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (int64_t i = 0; i < I; i += 4 * depth) {
        _tile_loadd(4, x + i, I);
        _tile_loadd(6, w + 16 * i, 64);
        _tile_dpbsud(0, 4, 6);
        if (tall) _tile_loadd(5, x + 16 * I + i, I);
        if (tall) _tile_dpbsud(2, 5, 6);
        if (wide) _tile_loadd(7, w + panel + 16 * i, 64);
        if (wide) _tile_dpbsud(1, 4, 7);
        if (tall && wide) _tile_dpbsud(3, 5, 7);
    }
    _tile_stored(0, dots[0], 64);
    if (wide) _tile_stored(1, dots[1], 64);
    if (tall) _tile_stored(2, dots[2], 64);
    if (tall && wide) _tile_stored(3, dots[3], 64);
    stored();
    for (int p = 0; p <= wide; p++) {
        const Floats scale = GET((const float *)(w + p * panel + 16 * I));
        for (int64_t r = 0; r < rows; r++) {
            float *to = y + r * stride + 16 * p;
            const Codes sum = _mm512_add_epi32(CODES(dots[r / 16 * 2 + p][r % 16]), FOUR(starts + r));
            const Floats found = TIMES(REAL(sum), TIMES(scale, SAME(scales[r])));
            SET(to, FMA(found, SAME(1.0f), add ? GET(to) : SAME(0.0f)));
        }
    }
}

static void bytes_tiles(const float *x, int64_t rows, const uint8_t *w, float *y, int64_t stride,
                        int64_t O, int64_t I, int add, int8_t *codes, int32_t *starts,
                        float *scales) {
    const int64_t panel = 16 * I + LINE, depth = I % 64 ? 8 : 16;
    for (int64_t m = 0; m < rows; m++)
        scales[m] = bytes_row(x + m * I, I, 1, (int32_t *)(codes + m * I), starts + m);
    memset(codes + rows * I, 0, (tiled(rows, 16) - rows) * I);
    set_tiles(depth);
    for (int64_t o = 0; o < O; o += 32, w += 2 * panel)
        for (int64_t m = 0; m < rows; m += 32) {
            const int64_t n = rows - m < 32 ? rows - m : 32;
            const int8_t *from = codes + m * I;
            float *to = y + m * stride + o;
#define TILE(tall, wide)                                                                        \
    bytes_tile(from, starts + m, scales + m, w, panel, to, stride, I, add, n, depth, tall, wide)
            if (n > 16 && o + 16 < O)
                TILE(1, 1);
            else if (n > 16)
                TILE(1, 0);
            else if (o + 16 < O)
                TILE(0, 1);
            else
                TILE(0, 0);
#undef TILE
        }
    set_tiles(16);
}
#endif

/* Bytes of memory that a product needs to work in. */
static int64_t bytes_memory(int64_t rows, int64_t I) {
    return tiled(rows, 16) * (I * FOURS + 8) + 4 * LINE;
}

/* x [rows][I] float32 times w [O][I] gives y [rows][O], or is added to it; `stride` is from one row
   of y to the next. */
static void bytes_product(const float *x, int64_t rows, const uint8_t *w, float *y, int64_t stride,
                          int64_t O, int64_t I, int add, void *memory) {
    char *at = memory;
    int32_t *codes = take(&at, tiled(rows, 16) * I * FOURS);
    int32_t *starts = take(&at, 4 * rows);
    float *scales = take(&at, 4 * rows);
#ifdef AMX
    if (rows >= 8) {
        bytes_tiles(x, rows, w, y, stride, O, I, add, (int8_t *)codes, starts, scales);
        return;
    }
#endif
    const int64_t panel = 16 * I + LINE;
    for (int64_t m = 0; m < rows; m++) {
        const int64_t first = m / BYTES_BLOCK * BYTES_BLOCK;
        const int64_t n = rows - first < BYTES_BLOCK ? rows - first : BYTES_BLOCK;
        int32_t *to = codes + (first * I / 4 + m - first) * FOURS;
        scales[m] = bytes_row(x + m * I, I, n, to, starts + m);
    }
    /* Few rows by several panels, that there are sums enough to hide how long one takes. */
#ifdef AVX512
    const int64_t wide = 4;
#else
    const int64_t wide = rows == 1 ? 4 : rows <= 3 ? 2 : 1;
#endif
    for (int64_t o = 0; o < O;) {
        const int64_t panels = o + 16 * wide <= O ? wide : 1;
        for (int64_t m = 0; m < rows; m += BYTES_BLOCK) {
            const int64_t n = rows - m < BYTES_BLOCK ? rows - m : BYTES_BLOCK;
            const int32_t *from = codes + m * I / 4 * FOURS;
            float *to = y + m * stride + o;
#define CASE(R, P)                                                                              \
    case 10 * R + P:                                                                            \
        bytes_block(from, starts + m, scales + m, w, panel, to, stride, I, add, R, P);          \
        break;
            switch (10 * n + panels) {
                CASE(4, 1) CASE(3, 1) CASE(3, 2)
                CASE(2, 1) CASE(2, 2) CASE(1, 1) CASE(1, 2) CASE(1, 4)
#if BYTES_BLOCK > 4
                CASE(6, 1) CASE(5, 1)
#endif
#ifdef AVX512
                CASE(6, 4) CASE(5, 4) CASE(4, 4) CASE(3, 4) CASE(2, 4)
#endif
            }
#undef CASE
        }
        o += 16 * panels, w += panels * panel;
    }
}

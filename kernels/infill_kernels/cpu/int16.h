/* Products of whole numbers of 16 bits, summed exactly in 32: for CPUs with AVX2 and above.

   Such a CPU multiplies two pairs of 16-bit numbers and adds them in the place of one float32, and
   does so twice as often as it multiplies what bfloat16 was widened to. A row of x and an output's
   weights have each a scale, so that neither's norm exceeds NORM in whole numbers: by
   Cauchy-Schwarz no sum of their products then exceeds 2^31, and what is rounded is a tenth of
   what bfloat16 rounds.

   Weights stand as bfloat16 does, [O / 16][I / 32][16][16][2], but for the 16 scales, float32, that
   follow each 16 outputs. Rows of x are packed in blocks of up to BLOCK, [I / 2][rows][2]. */

#include "level.h"

#ifdef AVX2
#define BLOCK 6
#define NORM 46000.0f /* NORM^2 and what rounding adds to it for I <= 32768 are below 2^31 */
#define MOST 32767.0f

#ifdef AVX512
typedef __m512i whole;
typedef __m512 reals;
#define WHOLE(name) _mm512_##name
#define LOAD(at) _mm512_loadu_si512((const void *)(at))
#define ZERO() _mm512_setzero_si512()
#else
typedef __m256i whole;
typedef __m256 reals;
#define WHOLE(name) _mm256_##name
#define LOAD(at) _mm256_loadu_si256((const __m256i *)(at))
#define ZERO() _mm256_setzero_si256()
#endif

INLINE whole plus_products(whole sum, whole x, whole w) {
#if defined(VNNI)
    return _mm512_dpwssd_epi32(sum, x, w);
#elif defined(AVXVNNI)
    return _mm256_dpwssd_avx_epi32(sum, x, w);
#elif defined(AVX512) || defined(EMULATED)
    return WHOLE(add_epi32)(sum, WHOLE(madd_epi16)(x, w));
#else
    /* Told in so many words, for GCC copies the sums from register to register otherwise. */
    whole products = WHOLE(madd_epi16)(x, w);
    __asm__("vpaddd %1, %0, %0" : "+x"(sum) : "x"(products));
    return sum;
#endif
}

/* A row x [I] as whole numbers, in pairs that are `rows` pairs apart; returns their scale. */
static float quantised_row(const float *x, int64_t I, int64_t rows, int32_t *pairs) {
    part square = {0}, most = {0};
    for (int64_t i = 0; i < I; i += WIDTH) {
        const part v = *(const part *)(x + i);
        square += v * v;
        most = larger(magnitude(v), most);
    }
    float by_norm = sqrtf(total(square)) / NORM, by_size = greatest(most) / MOST;
    float scale = by_norm > by_size ? by_norm : by_size;
    if (!(scale > 1e-30f)) scale = 1e-30f;
    const float inverse = 1.0f / scale;
    for (int64_t i = 0; i < I; i += LANES) {
        union {
            halves packed;
            int32_t pair[LANES / 2];
        } found;
        found.packed = __builtin_convertvector(nearest(*(const vec *)(x + i) * inverse), halves);
        for (int k = 0; k < LANES / 2; k++) pairs[(i / 2 + k) * rows] = found.pair[k];
    }
    return scale;
}

/* A block of `rows` by `panels` panels of weights; both are known when compiled. */
INLINE void whole_block(const int32_t *x, const float *scales, const int16_t *w, int64_t panel,
                        float *y, int64_t stride, int64_t I, int add, int rows, int panels) {
    whole sum[BLOCK][4 * PARTS];
#pragma GCC unroll 6
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 8
        for (int p = 0; p < panels * PARTS; p++) sum[r][p] = ZERO();
    for (int64_t i = 0; i < I / 2; i += 2)
#pragma GCC unroll 2
        for (int next = 0; next < 2; next++)
#pragma GCC unroll 4
            for (int p = 0; p < panels; p++) {
                const int16_t *at = w + p * panel + 32 * (i + next);
                __builtin_prefetch((const char *)at + AHEAD);
                whole weights[PARTS];
#pragma GCC unroll 2
                for (int k = 0; k < PARTS; k++) weights[k] = LOAD(at + 2 * WIDTH * k);
#pragma GCC unroll 6
                for (int r = 0; r < rows; r++) {
                    whole pair = WHOLE(set1_epi32)(x[(i + next) * rows + r]);
#pragma GCC unroll 2
                    for (int k = 0; k < PARTS; k++)
                        sum[r][PARTS * p + k] =
                            plus_products(sum[r][PARTS * p + k], pair, weights[k]);
                }
            }
#pragma GCC unroll 6
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 8
        for (int p = 0; p < panels * PARTS; p++) {
            const float *of_outputs = (const float *)(w + p / PARTS * panel + 16 * I);
            float *to = y + r * stride + WIDTH * p;
            reals scale = WHOLE(mul_ps)(WHOLE(set1_ps)(scales[r]),
                                        WHOLE(loadu_ps)(of_outputs + p % PARTS * WIDTH));
            reals found = WHOLE(mul_ps)(WHOLE(cvtepi32_ps)(sum[r][p]), scale);
            if (add) found = WHOLE(add_ps)(found, WHOLE(loadu_ps)(to));
            WHOLE(storeu_ps)(to, found);
        }
}

/* x [rows][I] float32 times w [O][I] gives y [rows][O], or is added to it; `stride` is from one row
   of y to the next. `packed` has room for rows * I numbers of 16 bits and `scales` for the rows. */
static void whole_product(const float *x, int64_t rows, const int16_t *w, float *y, int64_t stride,
                          int64_t O, int64_t I, int add, int16_t *packed, float *scales) {
    const int64_t panel = 16 * I + 32;
    for (int64_t m = 0; m < rows; m++) {
        int64_t first = m / BLOCK * BLOCK, n = rows - first < BLOCK ? rows - first : BLOCK;
        scales[m] = quantised_row(x + m * I, I, n, (int32_t *)(packed + first * I) + (m - first));
    }
    /* Few rows by several panels, that there are sums enough to hide how long one takes. */
    int64_t wide = WIDTH == 16 || rows == 1 ? 4 : rows <= 3 ? 2 : 1;
    for (int64_t o = 0; o < O;) {
        int64_t panels = o + 16 * wide <= O ? wide : 1;
        for (int64_t m = 0; m < rows; m += BLOCK) {
            int64_t n = rows - m < BLOCK ? rows - m : BLOCK;
            const int32_t *from = (const int32_t *)(packed + m * I);
            float *to = y + m * stride + o;
#define CASE(R, P) \
    case 10 * R + P: whole_block(from, scales + m, w, panel, to, stride, I, add, R, P); break;
            switch (10 * n + panels) {
                CASE(6, 1) CASE(5, 1) CASE(4, 1) CASE(3, 1) CASE(3, 2)
                CASE(2, 1) CASE(2, 2) CASE(1, 1) CASE(1, 2) CASE(1, 4)
#ifdef AVX512
                CASE(6, 4) CASE(5, 4) CASE(4, 4) CASE(3, 4) CASE(2, 4)
#endif
            }
#undef CASE
        }
        o += 16 * panels, w += panels * panel;
    }
}
#endif

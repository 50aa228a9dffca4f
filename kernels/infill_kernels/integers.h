/* Products of whole numbers, for CPUs with AVX2: 16 bits times 16, summed exactly in 32.

   Such a CPU multiplies two pairs of 16-bit numbers and adds them in the place of one float32, and
   does so twice as often as it multiplies what bfloat16 was widened to. A row of x and an output's
   weights have each a scale, so that neither's norm exceeds NORM in whole numbers: by
   Cauchy-Schwarz no sum of their products then exceeds 2^31, and what is rounded is a tenth of
   what bfloat16 rounds.

   Weights stand as bfloat16 does, [O / 16][I / 32][16][16][2], but for the 16 scales, float32, that
   follow each 16 outputs. Rows of x are packed in blocks of up to BLOCK, [I / 2][rows][2]. */

#include <immintrin.h>

#define BLOCK 6
#define NORM 46000.0f /* NORM^2 and what rounding adds to it for I <= 32768 are below 2^31 */
#define MOST 32767.0f

static inline __m256i plus_products(__m256i sum, __m256i x, __m256i w) {
#ifdef __AVXVNNI__
    return _mm256_dpwssd_avx_epi32(sum, x, w);
#else
    /* Told in so many words, for GCC copies the sums from register to register otherwise. */
    __m256i products = _mm256_madd_epi16(x, w);
    __asm__("vpaddd %1, %0, %0" : "+x"(sum) : "x"(products));
    return sum;
#endif
}

/* A row x [I] as whole numbers, in pairs that are `rows` pairs apart; returns their scale. */
static float quantised(const float *x, int64_t I, int64_t rows, int32_t *pairs) {
    const __m256 sign = _mm256_set1_ps(-0.0f);
    __m256 square = _mm256_setzero_ps(), most = square;
    for (int64_t i = 0; i < I; i += 8) {
        __m256 v = _mm256_loadu_ps(x + i);
        square = _mm256_add_ps(square, _mm256_mul_ps(v, v));
        most = _mm256_max_ps(most, _mm256_andnot_ps(sign, v));
    }
    float sum = 0, largest = 0;
    for (int i = 0; i < 8; i++) {
        sum += square[i];
        if (most[i] > largest) largest = most[i];
    }
    float by_norm = sqrtf(sum) / NORM, by_size = largest / MOST;
    float scale = by_norm > by_size ? by_norm : by_size;
    if (!(scale > 1e-30f)) scale = 1e-30f;
    __m256 inverse = _mm256_set1_ps(1.0f / scale);
    for (int64_t i = 0; i < I; i += 16) {
        __m256i a = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x + i), inverse));
        __m256i b = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x + i + 8), inverse));
        /* Packing takes four of each in turn; these are put back into their order. */
        __m256i packed = _mm256_permute4x64_epi64(_mm256_packs_epi32(a, b), 0xd8);
        int32_t found[8];
        _mm256_storeu_si256((__m256i *)found, packed);
        for (int k = 0; k < 8; k++) pairs[(i / 2 + k) * rows] = found[k];
    }
    return scale;
}

/* A block of `rows` by `panels` panels of weights; both are known when compiled. */
static inline __attribute__((always_inline)) void block(const int32_t *x, const float *scales,
                                                        const int16_t *w, int64_t panel, float *y,
                                                        int64_t stride, int64_t I, int add,
                                                        int rows, int panels) {
    __m256i sum[BLOCK][8];
#pragma GCC unroll 6
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 8
        for (int p = 0; p < 2 * panels; p++) sum[r][p] = _mm256_setzero_si256();
    for (int64_t i = 0; i < I / 2; i += 2)
#pragma GCC unroll 2
        for (int next = 0; next < 2; next++)
#pragma GCC unroll 4
            for (int p = 0; p < panels; p++) {
                const int16_t *at = w + p * panel + 32 * (i + next);
                __m256i low = _mm256_loadu_si256((const __m256i *)at);
                __m256i high = _mm256_loadu_si256((const __m256i *)(at + 16));
#pragma GCC unroll 6
                for (int r = 0; r < rows; r++) {
                    __m256i pair = _mm256_set1_epi32(x[(i + next) * rows + r]);
                    sum[r][2 * p] = plus_products(sum[r][2 * p], pair, low);
                    sum[r][2 * p + 1] = plus_products(sum[r][2 * p + 1], pair, high);
                }
            }
#pragma GCC unroll 6
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 8
        for (int p = 0; p < 2 * panels; p++) {
            const float *of_outputs = (const float *)(w + p / 2 * panel + 16 * I) + p % 2 * 8;
            float *to = y + r * stride + 8 * p;
            __m256 scale = _mm256_mul_ps(_mm256_set1_ps(scales[r]), _mm256_loadu_ps(of_outputs));
            __m256 found = _mm256_mul_ps(_mm256_cvtepi32_ps(sum[r][p]), scale);
            if (add) found = _mm256_add_ps(found, _mm256_loadu_ps(to));
            _mm256_storeu_ps(to, found);
        }
}

/* x [rows][I] float32 times w [O][I] gives y [rows][O], or is added to it; `stride` is from one row
   of y to the next. `packed` has room for rows * I numbers of 16 bits and `scales` for the rows. */
static void multiply(const float *x, int64_t rows, const int16_t *w, float *y, int64_t stride,
                     int64_t O, int64_t I, int add, int16_t *packed, float *scales) {
    const int64_t panel = 16 * I + 32;
    for (int64_t m = 0; m < rows; m++) {
        int64_t first = m / BLOCK * BLOCK, n = rows - first < BLOCK ? rows - first : BLOCK;
        scales[m] = quantised(x + m * I, I, n, (int32_t *)(packed + first * I) + (m - first));
    }
    /* Few rows by several panels, that there are sums enough to hide how long one takes. */
    int64_t wide = rows == 1 ? 4 : rows <= 3 ? 2 : 1;
    for (int64_t o = 0; o < O;) {
        int64_t panels = o + 16 * wide <= O ? wide : 1;
        for (int64_t m = 0; m < rows; m += BLOCK) {
            int64_t n = rows - m < BLOCK ? rows - m : BLOCK;
            const int32_t *from = (const int32_t *)(packed + m * I);
            float *to = y + m * stride + o;
#define CASE(R, P) \
    case 10 * R + P: block(from, scales + m, w, panel, to, stride, I, add, R, P); break;
            switch (10 * n + panels) {
                CASE(6, 1) CASE(5, 1) CASE(4, 1) CASE(3, 1) CASE(3, 2)
                CASE(2, 1) CASE(2, 2) CASE(1, 1) CASE(1, 2) CASE(1, 4)
            }
#undef CASE
        }
        o += 16 * panels, w += panels * panel;
    }
}

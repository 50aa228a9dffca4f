/* Products with weights of 4 bits in groups of 32: w = scale * code + minimum.

   Weights stand as [O / 16][I / 32][GROUP bytes], so that they are read in place, from a file that
   is mapped into memory. Of 16 outputs and 32 inputs come 4 chunks of 64 bytes: byte 4 c + j of
   chunk k has the code of output c and input 4 k + j in its low half, of input 16 + 4 k + j in its
   high half; then 16 scales and 16 minima, float16.

   A row of x becomes whole numbers of 8 bits with a scale for each 32. Codes times these are summed
   exactly, then for each group

       y += scale * of_x * (codes . x) + minimum * of_x * (sum of x)

   With AVX2 alone eight products of 15 * 127 are added in 16 bits, which hold 32,767. */

#include "level.h"

#define GROUP 320 /* bytes of 16 outputs and 32 inputs */
#define SCALES 256 /* where their scales begin, and 32 bytes later their minima */

/* A register of codes: in each 32 bits, four inputs of one output. FOLD makes what DOT has summed
   into floats. */
#if defined(AVX512)
typedef __m512i Codes;
typedef __m512 Floats;
#define CODES(at) _mm512_loadu_si512((const void *)(at))
#define LOW(w) _mm512_and_si512(w, _mm512_set1_epi8(15))
#define HIGH(w) LOW(_mm512_srli_epi16(w, 4))
#define FOUR(at) _mm512_set1_epi32(*(at))
#define HALF(at) _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(at)))
#define SAME(x) _mm512_set1_ps(x)
#define TIMES(a, b) _mm512_mul_ps(a, b)
#define FMA(a, b, c) _mm512_fmadd_ps(a, b, c)
#define NO_CODES _mm512_setzero_si512()
#define GET(at) _mm512_loadu_ps(at)
#define SET(at, x) _mm512_storeu_ps(at, x)
#ifdef VNNI
#define DOT(sum, w, x) _mm512_dpbusd_epi32(sum, w, x)
#define FOLD(sum) _mm512_cvtepi32_ps(sum)
#else
#define DOT(sum, w, x) _mm512_add_epi16(sum, _mm512_maddubs_epi16(w, x))
#define FOLD(sum) _mm512_cvtepi32_ps(_mm512_madd_epi16(sum, _mm512_set1_epi16(1)))
#endif
#define TALL 8 /* rows of x at a time */
#define WIDE 1 /* registers of outputs at a time, or four where there are one or two rows */

#elif defined(AVX2)
typedef __m256i Codes;
typedef __m256 Floats;
INLINE __m256i plus_in_place(__m256i sum, __m256i more) {
#ifdef EMULATED
    return _mm256_add_epi16(sum, more);
#else /* or GCC copies the sums from register to register */
    __asm__("vpaddw %1, %0, %0" : "+x"(sum) : "x"(more));
    return sum;
#endif
}
#define CODES(at) _mm256_loadu_si256((const __m256i *)(at))
#define LOW(w) _mm256_and_si256(w, _mm256_set1_epi8(15))
#define HIGH(w) LOW(_mm256_srli_epi16(w, 4))
#define FOUR(at) _mm256_set1_epi32(*(at))
#define HALF(at) _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(at)))
#define SAME(x) _mm256_set1_ps(x)
#define TIMES(a, b) _mm256_mul_ps(a, b)
#define FMA(a, b, c) _mm256_fmadd_ps(a, b, c)
#define NO_CODES _mm256_setzero_si256()
#define GET(at) _mm256_loadu_ps(at)
#define SET(at, x) _mm256_storeu_ps(at, x)
#ifdef AVXVNNI
#define DOT(sum, w, x) _mm256_dpbusd_avx_epi32(sum, w, x)
#define FOLD(sum) _mm256_cvtepi32_ps(sum)
#else
#define DOT(sum, w, x) plus_in_place(sum, _mm256_maddubs_epi16(w, x))
#define FOLD(sum) _mm256_cvtepi32_ps(_mm256_madd_epi16(sum, _mm256_set1_epi16(1)))
#endif
#define TALL 4
#define WIDE 2

#elif defined(DOTPROD)
typedef int8x16_t Codes;
typedef float32x4_t Floats;
#define CODES(at) vld1q_s8((const int8_t *)(at))
#define LOW(w) vandq_s8(w, vdupq_n_s8(15))
#define HIGH(w) vreinterpretq_s8_u8(vshrq_n_u8(vreinterpretq_u8_s8(w), 4))
#define FOUR(at) vreinterpretq_s8_s32(vld1q_dup_s32(at))
#define HALF(at) vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16((const uint16_t *)(at))))
#define SAME(x) vdupq_n_f32(x)
#define TIMES(a, b) vmulq_f32(a, b)
#define FMA(a, b, c) vfmaq_f32(c, a, b)
#define NO_CODES vdupq_n_s8(0)
#define GET(at) vld1q_f32(at)
#define SET(at, x) vst1q_f32(at, x)
#define DOT(sum, w, x) vreinterpretq_s8_s32(vdotq_s32(vreinterpretq_s32_s8(sum), w, x))
#define FOLD(sum) vcvtq_f32_s32(vreinterpretq_s32_s8(sum))
#define TALL 8
#define WIDE 1

#else
#undef WIDTH
#define WIDTH 16
typedef bits Codes;
typedef vec Floats;
typedef _Float16 small __attribute__((vector_size(2 * LANES), aligned(2), may_alias));
#define CODES(at) (*(const bits *)(at))
#define LOW(w) ((w) & 0x0f0f0f0fu)
#define HIGH(w) (((w) >> 4) & 0x0f0f0f0fu)
#define FOUR(at) ((bits){0} + (uint32_t)*(at))
#define HALF(at) __builtin_convertvector(*(const small *)(at), vec)
#define SAME(x) spread(x)
#define TIMES(a, b) ((a) * (b))
#define FMA(a, b, c) ((a) * (b) + (c))
#define NO_CODES ((bits){0})
#define GET(at) (*(const vec *)(at))
#define SET(at, x) (*(vec *)(at) = (x))
#define DOT(sum, w, x) dot(sum, w, x)
#define FOLD(sum) __builtin_convertvector((ints)(sum), vec)
#define TALL 4
#define WIDE 1

INLINE bits dot(bits sum, bits w, bits x) {
    ints plus = (ints)sum;
    for (int j = 0; j < 32; j += 8)
        plus += (ints)((w >> j) & 255) * ((ints)(x << (24 - j)) >> 24);
    return (bits)plus;
}
#endif

/* Rows of x as whole numbers of 8 bits in blocks of `tall` rows: [I / 32][8][tall] of four each, or
   `flat`, [I / 32][tall][8]; and of each group [I / 32][2][tall] its scale and its sum. */
static void pack_rows(const float *x, int64_t rows, int64_t I, int64_t tall, int flat,
                      int32_t *codes, float *scales) {
    for (int64_t m = 0; m < rows; m++) {
        const int64_t first = m / tall * tall, r = m - first;
        const int64_t n = flat || rows - first >= tall ? tall : rows - first;
        for (int64_t g = 0; g < I / 32; g++) {
            const vec a = *(const vec *)(x + m * I + 32 * g);
            const vec b = *(const vec *)(x + m * I + 32 * g + 16);
            part most = {0};
            for (int i = 0; i < 32; i += PART)
                most = larger(magnitude(*(const part *)(x + m * I + 32 * g + i)), most);
            float size = greatest(most);
            if (!(size > 1e-30f)) size = 1e-30f;
            const float inverse = 127.0f / size;
            const ints low = nearest(a * inverse), high = nearest(b * inverse);
            union {
                bytes packed[2];
                int32_t four[8];
            } found;
            found.packed[0] = __builtin_convertvector(low, bytes);
            found.packed[1] = __builtin_convertvector(high, bytes);
            int32_t *to = codes + (first * I / 4) + g * 8 * n;
            for (int k = 0; k < 8; k++) to[flat ? r * 8 + k : k * n + r] = found.four[k];
            const ints both = low + high;
            int32_t sum = 0;
            for (int i = 0; i < LANES; i++) sum += both[i];
            float *of = scales + (first * (I / 32) + g * n) * 2;
            of[r] = size / 127.0f;
            of[n + r] = size / 127.0f * sum;
        }
    }
}

#define REGISTERS (LANES / WIDTH) /* of the outputs of a panel */

/* `rows` rows of x by so many registers of outputs, from number `first` of a panel on; `panel` is
   from one panel to the next. `rows` and `wide` are known when compiled. */
INLINE void q4_block(const int32_t *x, const float *scales, const uint8_t *w, int64_t panel,
                     int first, float *y, int64_t stride, int64_t groups, int add, int rows,
                     int wide) {
    Floats sum[TALL][4];
    const uint8_t *from[4];
#pragma GCC unroll 4
    for (int q = 0; q < wide; q++) from[q] = w + (first + q) / REGISTERS * panel;
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int q = 0; q < wide; q++)
            sum[r][q] = add ? GET(y + r * stride + q * WIDTH) : SAME(0.0f);
    for (int64_t g = 0; g < groups; g++, x += 8 * rows, scales += 2 * rows) {
#pragma GCC unroll 4
        for (int q = 0; q < wide; q++)
            if ((first + q) % REGISTERS == 0)
                for (int line = 0; line < GROUP; line += LINE)
                    __builtin_prefetch(from[q] + g * GROUP + AHEAD + line);
        Codes dots[TALL][4];
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
            for (int q = 0; q < wide; q++) dots[r][q] = NO_CODES;
#pragma GCC unroll 4
        for (int k = 0; k < 4; k++) {
            Codes low[4], high[4];
#pragma GCC unroll 4
            for (int q = 0; q < wide; q++) {
                const int part = (first + q) % REGISTERS;
                const Codes both = CODES(from[q] + g * GROUP + 64 * k + 4 * WIDTH * part);
                low[q] = LOW(both), high[q] = HIGH(both);
            }
#pragma GCC unroll 8
            for (int r = 0; r < rows; r++) {
                const Codes near = FOUR(x + k * rows + r), far = FOUR(x + (k + 4) * rows + r);
#pragma GCC unroll 4
                for (int q = 0; q < wide; q++) {
                    dots[r][q] = DOT(dots[r][q], low[q], near);
                    dots[r][q] = DOT(dots[r][q], high[q], far);
                }
            }
        }
#pragma GCC unroll 4
        for (int q = 0; q < wide; q++) {
            const int part = (first + q) % REGISTERS;
            const uint8_t *of = from[q] + g * GROUP + SCALES + 2 * WIDTH * part;
            const Floats scale = HALF(of), least = HALF(of + 32);
#pragma GCC unroll 8
            for (int r = 0; r < rows; r++) {
                sum[r][q] = FMA(TIMES(FOLD(dots[r][q]), scale), SAME(scales[r]), sum[r][q]);
                sum[r][q] = FMA(least, SAME(scales[rows + r]), sum[r][q]);
            }
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int q = 0; q < wide; q++) SET(y + r * stride + q * WIDTH, sum[r][q]);
}

#ifdef AMX
/* Sixteen rows of x by a panel, whose codes stand apart: [I / 32][8][64]. */
static void q4_tile(const int32_t *x, const float *scales, const uint8_t *apart, const uint8_t *w,
                    float *y, int64_t stride, int64_t groups, int add, int64_t rows) {
    int32_t dots[16][16] __attribute__((aligned(64)));
    __m512 sum[16];
    for (int r = 0; r < 16; r++)
        sum[r] = add && r < rows ? GET(y + r * stride) : SAME(0.0f);
    for (int64_t g = 0; g < groups; g++, w += GROUP, x += 128, scales += 32, apart += 512) {
        _tile_zero(0);
        _tile_loadd(4, x, 32);
        _tile_loadd(6, apart, 64);
        _tile_dpbsud(0, 4, 6);
        _tile_stored(0, dots, 64);
        stored();
        const __m512 scale = HALF(w + SCALES), least = HALF(w + SCALES + 32);
#pragma GCC unroll 16
        for (int r = 0; r < 16; r++) {
            const __m512 found = _mm512_cvtepi32_ps(CODES(dots[r]));
            sum[r] = FMA(TIMES(found, scale), SAME(scales[r]), sum[r]);
            sum[r] = FMA(least, SAME(scales[16 + r]), sum[r]);
        }
    }
    for (int r = 0; r < rows; r++) SET(y + r * stride, sum[r]);
}

static void q4_tiles(const float *x, int64_t rows, const uint8_t *w, float *y, int64_t stride,
                     int64_t O, int64_t I, int add, int32_t *codes, float *scales,
                     uint8_t *apart) {
    const int64_t groups = I / 32;
    memset(codes, 0, tiled(rows, 16) * I);
    memset(scales, 0, tiled(rows, 16) * groups * 8);
    pack_rows(x, rows, I, 16, 1, codes, scales);
    set_tiles(8);
    for (int64_t o = 0; o < O; o += 16, w += groups * GROUP) {
        for (int64_t g = 0; g < groups; g++)
            for (int k = 0; k < 4; k++) {
                const Codes both = CODES(w + g * GROUP + 64 * k);
                _mm512_storeu_si512((void *)(apart + g * 512 + 64 * k), LOW(both));
                _mm512_storeu_si512((void *)(apart + g * 512 + 64 * (k + 4)), HIGH(both));
            }
        stored();
        for (int64_t m = 0; m < rows; m += 16)
            q4_tile(codes + m * I / 4, scales + m * groups * 2, apart, w, y + m * stride + o,
                    stride, groups, add, rows - m < 16 ? rows - m : 16);
    }
    set_tiles(16);
}
#endif

/* Bytes of memory that a product needs to work in. */
static int64_t q4_memory(int64_t rows, int64_t I) {
    return tiled(rows, 16) * (I + I / 4) + 16 * I + 4 * LINE;
}

/* x [rows][I] float32 times w [O][I] gives y [rows][O], or is added to it; `stride` is from one row
   of y to the next. */
static void q4_product(const float *x, int64_t rows, const uint8_t *w, float *y, int64_t stride,
                       int64_t O, int64_t I, int add, void *memory) {
    char *at = memory;
    const int64_t groups = I / 32;
    int32_t *codes = take(&at, tiled(rows, 16) * I);
    float *scales = take(&at, tiled(rows, 16) * groups * 8);
#ifdef AMX
    if (rows >= 8) {
        q4_tiles(x, rows, w, y, stride, O, I, add, codes, scales, take(&at, 16 * I));
        return;
    }
#endif
    pack_rows(x, rows, I, TALL, 0, codes, scales);
    const int64_t panel = groups * GROUP;
    /* A panel stays in the nearest cache for all rows; few rows take several registers at once, for
       there are sums enough then to hide how long one takes. */
    for (int64_t o = 0; o < O;) {
        const int wide = rows <= 2 && o + 4 * WIDTH <= O ? 4 : WIDE;
        const int64_t outputs = wide * WIDTH > LANES ? wide * WIDTH : LANES;
        for (int64_t m = 0; m < rows; m += TALL) {
            const int64_t n = rows - m < TALL ? rows - m : TALL;
            const int32_t *from = codes + m * I / 4;
            const float *of = scales + m * groups * 2;
            for (int first = 0; first * WIDTH < outputs; first += wide) {
                float *to = y + m * stride + o + first * WIDTH;
#define CASE(R, Q) \
    case 10 * R + Q: q4_block(from, of, w, panel, first, to, stride, groups, add, R, Q); break;
                switch (10 * n + wide) {
                    CASE(1, 4) CASE(2, 4) CASE(1, WIDE) CASE(2, WIDE) CASE(3, WIDE) CASE(4, WIDE)
#if TALL > 4
                    CASE(5, WIDE) CASE(6, WIDE) CASE(7, WIDE) CASE(8, WIDE)
#endif
                }
#undef CASE
            }
        }
        o += outputs, w += outputs / LANES * panel;
    }
}

/* One output's weights [I], as float32. */
static void q4_row(const uint8_t *w, int64_t output, int64_t I, float *to) {
    const uint8_t *at = w + output / 16 * (I / 32) * GROUP;
    for (int64_t g = 0; g < I / 32; g++, at += GROUP, to += 32) {
        const int64_t c = output % 16;
        float of[2][16];
        for (int i = 0; i < REGISTERS; i++) {
            SET(of[0] + i * WIDTH, HALF(at + SCALES + 2 * WIDTH * i));
            SET(of[1] + i * WIDTH, HALF(at + SCALES + 32 + 2 * WIDTH * i));
        }
        for (int i = 0; i < 16; i++) {
            const uint8_t both = at[64 * (i / 4) + 4 * c + i % 4];
            to[i] = of[0][c] * (both & 15) + of[1][c];
            to[16 + i] = of[0][c] * (both >> 4) + of[1][c];
        }
    }
}

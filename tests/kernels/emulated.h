/* The instructions of x86 that `cpu/` asks for, in C for any machine: so that tests run levels that
   this CPU has not. By Intel's descriptions; what an instruction would refuse ends the program.

   Vectors are GCC's. Of the intrinsics only those are here that are used. */

#ifndef EMULATED_H
#define EMULATED_H

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EMULATE static inline __attribute__((always_inline, unused))
#define CALLED static __attribute__((noinline, unused)) /* loops, which would take long to compile */
#define VECTOR(type, bytes) type __attribute__((vector_size(bytes), aligned(1), may_alias))

typedef VECTOR(int64_t, 16) __m128i;
typedef VECTOR(int64_t, 32) __m256i;
typedef VECTOR(int64_t, 64) __m512i;
typedef VECTOR(float, 32) __m256;
typedef VECTOR(float, 64) __m512;

EMULATE int16_t saturated(int32_t x) { return x > 32767 ? 32767 : x < -32768 ? -32768 : x; }

/* For registers of so many bytes: names begin with P and end with S. */
#define INSTRUCTIONS(P, S, bytes, ints, reals, half)                                              \
    typedef VECTOR(int8_t, bytes) P##_i8;                                                         \
    typedef VECTOR(uint8_t, bytes) P##_u8;                                                        \
    typedef VECTOR(int16_t, bytes) P##_i16;                                                       \
    typedef VECTOR(uint16_t, bytes) P##_u16;                                                      \
    typedef VECTOR(int32_t, bytes) P##_i32;                                                       \
    typedef VECTOR(_Float16, bytes / 2) P##_f16;                                                  \
    EMULATE ints P##_setzero_##S(void) { return (ints){0}; }                                      \
    EMULATE ints P##_loadu_##S(const void *at) { return *(const ints *)at; }                      \
    EMULATE void P##_storeu_##S(void *at, ints x) { *(ints *)at = x; }                            \
    EMULATE reals P##_loadu_ps(const void *at) { return *(const reals *)at; }                     \
    EMULATE void P##_storeu_ps(void *at, reals x) { *(reals *)at = x; }                           \
    EMULATE ints P##_set1_epi8(int8_t x) { return (ints)((P##_i8){0} + x); }                      \
    EMULATE ints P##_set1_epi16(int16_t x) { return (ints)((P##_i16){0} + x); }                   \
    EMULATE ints P##_set1_epi32(int32_t x) { return (ints)((P##_i32){0} + x); }                   \
    EMULATE reals P##_set1_ps(float x) { return (reals){0} + x; }                                 \
    EMULATE ints P##_and_##S(ints a, ints b) { return a & b; }                                    \
    EMULATE ints P##_srli_epi16(ints a, int n) { return (ints)((P##_u16)a >> n); }                \
    EMULATE ints P##_add_epi16(ints a, ints b) { return (ints)((P##_u16)a + (P##_u16)b); }        \
    EMULATE ints P##_add_epi32(ints a, ints b) { return (ints)((P##_i32)a + (P##_i32)b); }        \
    EMULATE reals P##_add_ps(reals a, reals b) { return a + b; }                                  \
    EMULATE reals P##_mul_ps(reals a, reals b) { return a * b; }                                  \
    CALLED reals P##_fmadd_ps(reals a, reals b, reals c) {                                       \
        for (int i = 0; i < bytes / 4; i++) c[i] = fmaf(a[i], b[i], c[i]);                        \
        return c;                                                                                 \
    }                                                                                             \
    EMULATE reals P##_cvtepi32_ps(ints a) { return __builtin_convertvector((P##_i32)a, reals); }  \
    CALLED reals P##_cvtph_ps(half a) {                                                          \
        reals found;                                                                              \
        for (int i = 0; i < bytes / 4; i++) found[i] = (float)((P##_f16)a)[i];                    \
        return found;                                                                             \
    }                                                                                             \
    CALLED ints P##_madd_epi16(ints a, ints b) {                                                 \
        P##_i16 x = (P##_i16)a, y = (P##_i16)b;                                                   \
        P##_i32 sum;                                                                              \
        for (int i = 0; i < bytes / 4; i++)                                                       \
            sum[i] = (int32_t)((uint32_t)(x[2 * i] * y[2 * i]) + x[2 * i + 1] * y[2 * i + 1]);    \
        return (ints)sum;                                                                         \
    }                                                                                             \
    CALLED ints P##_maddubs_epi16(ints a, ints b) {                                              \
        P##_u8 x = (P##_u8)a;                                                                     \
        P##_i8 y = (P##_i8)b;                                                                     \
        P##_i16 sum;                                                                              \
        for (int i = 0; i < bytes / 2; i++)                                                       \
            sum[i] = saturated(x[2 * i] * y[2 * i] + x[2 * i + 1] * y[2 * i + 1]);                \
        return (ints)sum;                                                                         \
    }                                                                                             \
    CALLED ints P##_dpbusd_epi32(ints sum, ints a, ints b) {                                     \
        P##_u8 x = (P##_u8)a;                                                                     \
        P##_i8 y = (P##_i8)b;                                                                     \
        P##_i32 found = (P##_i32)sum;                                                             \
        for (int i = 0; i < bytes; i++) found[i / 4] += x[i] * y[i];                              \
        return (ints)found;                                                                       \
    }                                                                                             \
    EMULATE ints P##_dpwssd_epi32(ints sum, ints a, ints b) {                                     \
        return P##_add_epi32(sum, P##_madd_epi16(a, b));                                          \
    }

INSTRUCTIONS(_mm256, si256, 32, __m256i, __m256, __m128i)
INSTRUCTIONS(_mm512, si512, 64, __m512i, __m512, __m256i)

#define _mm256_dpbusd_avx_epi32 _mm256_dpbusd_epi32
#define _mm256_dpwssd_avx_epi32 _mm256_dpwssd_epi32
EMULATE __m128i _mm_loadu_si128(const void *at) { return *(const __m128i *)at; }

/* Tiles of AMX: up to 16 rows of up to 64 bytes. */
typedef struct {
    int bytes, rows; /* 0 where they are not set up */
    uint8_t row[16][64];
} Tile;

static _Thread_local Tile tiles_[8];

#define WANTED(condition)                                                        \
    do {                                                                         \
        if (!(condition)) {                                                      \
            fprintf(stderr, "a tile is used wrongly: not %s\n", #condition);     \
            abort();                                                             \
        }                                                                        \
    } while (0)

CALLED void _tile_loadconfig(const void *given) {
    const uint8_t *at = given;
    WANTED(at[0] == 1);
    for (int t = 0; t < 8; t++) {
        uint16_t bytes;
        memcpy(&bytes, at + 16 + 2 * t, 2);
        WANTED(bytes <= 64 && bytes % 4 == 0 && at[48 + t] <= 16);
        tiles_[t] = (Tile){.bytes = bytes, .rows = at[48 + t]};
    }
}

CALLED void _tile_release(void) { memset(tiles_, 0, sizeof tiles_); }

CALLED void _tile_zero(int t) {
    WANTED(tiles_[t].rows);
    memset(tiles_[t].row, 0, sizeof tiles_[t].row);
}

CALLED void _tile_loadd(int t, const void *from, int64_t stride) {
    _tile_zero(t);
    for (int r = 0; r < tiles_[t].rows; r++)
        memcpy(tiles_[t].row[r], (const char *)from + r * stride, tiles_[t].bytes);
}

CALLED void _tile_stored(int t, void *to, int64_t stride) {
    WANTED(tiles_[t].rows);
    for (int r = 0; r < tiles_[t].rows; r++)
        memcpy((char *)to + r * stride, tiles_[t].row[r], tiles_[t].bytes);
}

CALLED void fitting(const Tile *sum, const Tile *a, const Tile *b) {
    WANTED(sum->rows && a->rows == sum->rows && b->bytes == sum->bytes && a->bytes == 4 * b->rows);
}

EMULATE float bfloat(uint16_t x) {
    const uint32_t bits = (uint32_t)x << 16;
    float found;
    memcpy(&found, &bits, 4);
    return found;
}

CALLED void _tile_dpbf16ps(int to, int left, int right) {
    Tile *sum = tiles_ + to, *a = tiles_ + left, *b = tiles_ + right;
    fitting(sum, a, b);
    for (int m = 0; m < sum->rows; m++)
        for (int k = 0; k < b->rows; k++)
            for (int n = 0; n < sum->bytes / 4; n++) {
                uint16_t x[2], y[2];
                float found;
                memcpy(x, a->row[m] + 4 * k, 4), memcpy(y, b->row[k] + 4 * n, 4);
                memcpy(&found, sum->row[m] + 4 * n, 4);
                found += bfloat(x[0]) * bfloat(y[0]);
                found += bfloat(x[1]) * bfloat(y[1]);
                memcpy(sum->row[m] + 4 * n, &found, 4);
            }
}

CALLED void _tile_dpbsud(int to, int left, int right) {
    Tile *sum = tiles_ + to, *a = tiles_ + left, *b = tiles_ + right;
    fitting(sum, a, b);
    for (int m = 0; m < sum->rows; m++)
        for (int k = 0; k < b->rows; k++)
            for (int n = 0; n < sum->bytes / 4; n++) {
                int32_t found;
                memcpy(&found, sum->row[m] + 4 * n, 4);
                for (int i = 0; i < 4; i++)
                    found += (int8_t)a->row[m][4 * k + i] * b->row[k][4 * n + i];
                memcpy(sum->row[m] + 4 * n, &found, 4);
            }
}

#endif

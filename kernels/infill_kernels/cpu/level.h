/* What every routine here is written in: vectors of 16 lanes, and memory to work in.

   Each source is compiled once for each level of a CPU's instructions (see levels.c and build.py),
   which defines LEVEL, the name, and of AVX2, AVXVNNI, AVX512, VNNI, AMX, NEON, DOTPROD what the level
   may use. A level that defines none is plain C. */

#ifndef INFILL_LEVEL_H
#define INFILL_LEVEL_H

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#ifdef EMULATED /* as the tests do, at levels that their CPU has not */
#include "emulated.h"
#elif defined(AVX2)
#include <immintrin.h>
#elif defined(NEON)
#include <arm_neon.h>
#endif

#if defined(AMX) && defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

#define NAMED_(level, name) infill_##level##_##name
#define NAMED(level, name) NAMED_(level, name)
#define EXPORTED(name) NAMED(LEVEL, name)

#define LANES 16
#ifdef AVX512
#define WIDTH 16 /* floats of a register */
#elif defined(AVX2)
#define WIDTH 8
#else
#define WIDTH 4
#endif
#define PARTS (LANES / WIDTH)
enum { PART = WIDTH }; /* whatever a form makes of WIDTH */
#define LINE 64 /* bytes of a cache line */
/* Weights are asked for this many bytes before they are used: beyond the page, at whose end a CPU
   stops to read ahead by itself. */
#define AHEAD 8192
#define INLINE static inline __attribute__((always_inline))

typedef uint16_t bf16;
typedef float vec __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef int32_t ints __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef uint32_t bits __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef bf16 halves __attribute__((vector_size(2 * LANES), aligned(2), may_alias));
typedef float part __attribute__((vector_size(4 * WIDTH), aligned(4), may_alias)); /* a register */
typedef int32_t part_ints __attribute__((vector_size(4 * WIDTH), aligned(4), may_alias));
typedef int8_t bytes __attribute__((vector_size(LANES), aligned(1), may_alias));

/* How weights are kept: see bf16.h, int16.h, q4.h and int8.h. */
enum { BF16 = 0, INT16 = 1, Q4 = 2, INT8 = 3 };

static inline int64_t tiled(int64_t n, int64_t tile) { return (n + tile - 1) / tile * tile; }

typedef struct {
    char *memory;
    int64_t size;
} Scratch;

static int reserve(Scratch *scratch, int64_t size) { /* what it held is lost when it grows */
    if (size <= scratch->size) return 1;
    size = tiled(size, LINE);
#ifdef _WIN32
    _aligned_free(scratch->memory);
    scratch->memory = _aligned_malloc(size, LINE);
#else
    free(scratch->memory);
    scratch->memory = aligned_alloc(LINE, size);
#endif
    scratch->size = scratch->memory ? size : 0;
    return scratch->memory != NULL;
}

static void *take(char **at, int64_t bytes) {
    void *found = *at;
    *at += tiled(bytes, LINE);
    return found;
}

INLINE vec spread(float x) { return (vec){0} + x; }

INLINE vec chosen(ints condition, vec yes, vec no) {
    return (vec)(((ints)yes & condition) | ((ints)no & ~condition));
}

/* What is done to one register at a time, for GCC takes wider vectors apart number by number where
   it compares them, and through memory elsewhere. */
INLINE part fill(float x) { return (part){0} + x; }

INLINE part larger(part a, part b) { /* b where one is no number */
    const part_ints greater = a > b;
    return (part)(((part_ints)a & greater) | ((part_ints)b & ~greater));
}

INLINE part magnitude(part x) { return (part)((part_ints)x & 0x7fffffff); }

INLINE float total(part x) {
    float sum[4] = {0, 0, 0, 0};
    for (int i = 0; i < WIDTH; i++) sum[i % 4] += x[i];
    return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

INLINE float greatest(part x) {
    float most[4] = {x[0], x[1], x[2], x[3]};
    for (int i = 4; i < WIDTH; i++) most[i % 4] = x[i] > most[i % 4] ? x[i] : most[i % 4];
    most[0] = most[1] > most[0] ? most[1] : most[0], most[2] = most[3] > most[2] ? most[3] : most[2];
    return most[2] > most[0] ? most[2] : most[0];
}

INLINE part exponential(part x) { /* x <= 88; below -87.7 it is 0 */
    const part t = larger(x, fill(-88.0f)) * 1.44269504f;
    const part whole = (t + 12582912.0f) - 12582912.0f;
    const part rest = (t - whole) * 0.69314718f;
    part sum = fill(1.0f / 720);
    sum = sum * rest + 1.0f / 120;
    sum = sum * rest + 1.0f / 24;
    sum = sum * rest + 1.0f / 6;
    sum = sum * rest + 0.5f;
    sum = sum * rest + 1.0f;
    sum = sum * rest + 1.0f;
    const part_ints scale = (__builtin_convertvector(whole, part_ints) + 127) << 23;
    return sum * (part)scale;
}

INLINE halves rounded(vec x) { /* to nearest, ties to even */
    bits u = (bits)x;
    return __builtin_convertvector((u + 0x7fff + ((u >> 16) & 1)) >> 16, halves);
}

INLINE vec widened_halves(const bf16 *x) {
    return (vec)(__builtin_convertvector(*(const halves *)x, bits) << 16);
}

static void narrow(const float *x, int64_t n, bf16 *y) {
    for (int64_t i = 0; i < n; i += LANES) *(halves *)(y + i) = rounded(*(const vec *)(x + i));
}

INLINE ints nearest(vec x) { /* |x| < 2^22 */
    return (ints)(x + 12582912.0f) - 0x4b400000; /* 1.5 * 2^23 */
}

#endif

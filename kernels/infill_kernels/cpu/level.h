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
#define LINE 64 /* bytes of a cache line */
#define INLINE static inline __attribute__((always_inline))

typedef uint16_t bf16;
typedef float vec __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef int32_t ints __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef uint32_t bits __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef bf16 halves __attribute__((vector_size(2 * LANES), aligned(2), may_alias));
typedef int8_t bytes __attribute__((vector_size(LANES), aligned(1), may_alias));

/* How weights are kept: see bf16.h, int16.h and q4.h. */
enum { BF16 = 0, INT16 = 1, Q4 = 2 };

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

INLINE float total(vec x) {
    float sum = 0;
    for (int i = 0; i < LANES; i++) sum += x[i];
    return sum;
}

INLINE float greatest(vec x) {
    float most = x[0];
    for (int i = 1; i < LANES; i++) most = x[i] > most ? x[i] : most;
    return most;
}

INLINE halves rounded(vec x) { /* to nearest, ties to even */
    bits u = (bits)x;
    return __builtin_convertvector((u + 0x7fff + ((u >> 16) & 1)) >> 16, halves);
}

INLINE ints nearest(vec x) { /* |x| < 2^22 */
    return (ints)(x + 12582912.0f) - 0x4b400000; /* 1.5 * 2^23 */
}

INLINE vec exponential(vec x) { /* x <= 88; below -87 it is 0 */
    vec t = x * 1.44269504f;
    vec whole = (t + 12582912.0f) - 12582912.0f;
    vec part = (t - whole) * 0.69314718f;
    vec sum = spread(1.0f / 720);
    sum = sum * part + 1.0f / 120;
    sum = sum * part + 1.0f / 24;
    sum = sum * part + 1.0f / 6;
    sum = sum * part + 0.5f;
    sum = sum * part + 1.0f;
    sum = sum * part + 1.0f;
    ints scale = (__builtin_convertvector(whole, ints) + 127) << 23;
    return (vec)((ints)(sum * (vec)scale) & (x > -87.0f));
}

#endif

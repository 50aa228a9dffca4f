/* Multiply-adds of what stands in registers, as each form's products consist of: the most that a
   product could do, beside which the benchmarks put what it does. Stands behind bf16.h, int16.h,
   q4.h and int8.h. */

#include "level.h"

/* The compiler is told that a value may have changed, or it would compute a product once. */
#if defined(EMULATED) || !(defined(__x86_64__) || defined(__aarch64__))
#define OPAQUE(x) __asm__ volatile("" : "+m"(x))
#elif defined(__x86_64__)
#define OPAQUE(x) __asm__ volatile("" : "+v"(x))
#else
#define OPAQUE(x) __asm__ volatile("" : "+w"(x))
#endif
#if defined(AVX2) || defined(DOTPROD)
#define OPAQUE_CODES OPAQUE
#else /* they have several registers */
#define OPAQUE_CODES(x) __asm__ volatile("" : "+m"(x))
#endif

#define SUMS 10 /* enough to hide how long one takes, and few enough for sixteen registers */

#define PLUS_PARTS(sum, x, w) (sum + x * w)

#define ROUNDS(sum, x, w, PLUS, CHANGED)                            \
    for (int64_t i = 0; i < rounds; i++) {                          \
        _Pragma("GCC unroll 10") for (int s = 0; s < SUMS; s++) {   \
            CHANGED(w);                                             \
            sum[s] = PLUS(sum[s], x, w);                            \
        }                                                           \
    }                                                               \
    _Pragma("GCC unroll 10") for (int s = 0; s < SUMS; s++) CHANGED(sum[s])

/* Multiplications and additions that were done. */
static int64_t peak(int64_t format, int64_t rounds) {
#ifdef AMX
    static const uint8_t zeros[1024] __attribute__((aligned(64)));
    if (format != INT16) {
        set_tiles(format == Q4 ? 8 : 16);
        _tile_loadd(4, zeros, 64);
        _tile_loadd(5, zeros, 64);
        _tile_loadd(6, zeros, 64);
        _tile_loadd(7, zeros, 64);
        for (int64_t i = 0; i < rounds; i++) {
            if (format != BF16) {
                _tile_dpbsud(0, 4, 6);
                _tile_dpbsud(1, 4, 7);
                _tile_dpbsud(2, 5, 6);
                _tile_dpbsud(3, 5, 7);
            } else {
                _tile_dpbf16ps(0, 4, 6);
                _tile_dpbf16ps(1, 4, 7);
                _tile_dpbf16ps(2, 5, 6);
                _tile_dpbf16ps(3, 5, 7);
            }
        }
        end_products();
        return rounds * 4 * 2 * 16 * 16 * (format == INT8 ? 64 : 32);
    }
#endif
#ifdef WIDENED
    if (format == INT8) format = INT16;
#endif
    if (format == Q4 || format == INT8) {
        Codes sum[SUMS], x = CODES(&(uint8_t[64]){0}), w = x;
#pragma GCC unroll 10
        for (int s = 0; s < SUMS; s++) sum[s] = NO_CODES;
        OPAQUE_CODES(x);
        ROUNDS(sum, x, w, DOT, OPAQUE_CODES);
        return rounds * SUMS * 2 * sizeof(Codes);
    }
#ifdef AVX2
    if (format == INT16) {
        whole sum[SUMS], x = ZERO(), w = x;
#pragma GCC unroll 10
        for (int s = 0; s < SUMS; s++) sum[s] = ZERO();
        OPAQUE(x);
        ROUNDS(sum, x, w, plus_products, OPAQUE);
        return rounds * SUMS * sizeof(whole);
    }
#endif
#ifndef AMX
    if (format != BF16) return 0;
    part sum[SUMS], x = {0}, w = x;
#pragma GCC unroll 10
    for (int s = 0; s < SUMS; s++) sum[s] = (part){0};
    OPAQUE(x);
    ROUNDS(sum, x, w, PLUS_PARTS, OPAQUE);
    return rounds * SUMS * 2 * sizeof(part) / 4;
#else
    return 0;
#endif
}

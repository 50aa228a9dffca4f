/* Which levels this CPU and its system let run, best first, of those that are compiled in: each is
   a macro, HAS_ and its name. */

#include <stdint.h>

#if defined(__x86_64__)
#include <cpuid.h>

static uint64_t enabled(void) { /* registers that the system keeps when it switches tasks */
    uint32_t low, high;
    __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (uint64_t)high << 32 | low;
}

const char *infill_levels(void) {
    uint32_t a, b, c, d, one, seven_b, seven_c, seven_d, more = 0;
    if (!__get_cpuid(1, &a, &b, &one, &d)) return "c";
    const int saved = one >> 27 & 1;
    const uint64_t state = saved ? enabled() : 0;
    if (!__get_cpuid_count(7, 0, &a, &seven_b, &seven_c, &seven_d)) return "c";
    if (a >= 1) __get_cpuid_count(7, 1, &more, &b, &c, &d);
    const int fma = one >> 12 & one >> 29 & 1; /* with conversions from float16 */
    const int avx2 = fma && seven_b >> 5 & 1 && (state & 6) == 6;
    const int wide = avx2 && (seven_b >> 16 & seven_b >> 17 & seven_b >> 30 & seven_b >> 31 & 1) &&
                     (state & 0xe6) == 0xe6;
    const int vnni = wide && seven_c >> 11 & 1;
    const int tiles = vnni && (seven_d >> 22 & seven_d >> 24 & seven_d >> 25 & 1) &&
                      (state >> 17 & 3) == 3;
    const int narrow = avx2 && more >> 4 & 1;
    if (tiles) return "amx avx512vnni avx512 avx2 c";
    if (vnni) return narrow ? "avx512vnni avx512 avxvnni avx2 c" : "avx512vnni avx512 avx2 c";
    if (wide) return "avx512 avx2 c";
    if (avx2) return narrow ? "avxvnni avx2 c" : "avx2 c";
    return "c";
}

#elif defined(__aarch64__)
#if defined(__linux__)
#include <sys/auxv.h>
const char *infill_levels(void) { return getauxval(AT_HWCAP) >> 20 & 1 ? "dotprod c" : "c"; }
#elif defined(__APPLE__)
const char *infill_levels(void) { return "dotprod c"; } /* every arm64 processor of Apple's */
#else
const char *infill_levels(void) { return "c"; }
#endif

#else
const char *infill_levels(void) { return "c"; }
#endif

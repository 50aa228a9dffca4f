/* The routines and the list of levels in one source, for the compiler of a machine that no library
   was made for: the one level is what this compiler was told to use. */

#if defined(__AVX2__) && defined(__FMA__) && defined(__F16C__)
#define AVX2 1
#define LEVEL avx2
#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512VL__) && defined(__AVX512DQ__)
#define AVX512 1
#undef LEVEL
#define LEVEL avx512
#ifdef __AVX512VNNI__
#define VNNI 1
#undef LEVEL
#define LEVEL avx512vnni
#if defined(__AMX_TILE__) && defined(__AMX_BF16__) && defined(__AMX_INT8__)
#define AMX 1
#undef LEVEL
#define LEVEL amx
#endif
#endif
#elif defined(__AVXVNNI__)
#define AVXVNNI 1
#undef LEVEL
#define LEVEL avxvnni
#endif
#elif defined(__ARM_NEON) && defined(__ARM_FEATURE_DOTPROD)
#define NEON 1
#define DOTPROD 1
#define LEVEL dotprod
#else
#define LEVEL c
#endif

#include "blocks.c"

#define NAME_(level) #level
#define NAME(level) NAME_(level)

const char *infill_levels(void) { return NAME(LEVEL); }

/* What a pass is given: the network's sizes, caches of keys and values, and where its tokens stand. */

#include "level.h"

typedef struct {
    int64_t layers, width, kv, group, head, ff, format;
    int64_t normed; /* whether queries and keys are normed by root mean square */
    float epsilon;
} Shape;

typedef struct {
    bf16 *keys, *values;         /* [layers][rows][kv][N][head], the last two dense */
    int64_t layer, row, kv_head; /* strides in elements, the same for both */
} Cache;

/* What of a pass does not depend on the network. Of B rows of n tokens, token i of a row stands at
   `at` + i of its cache, where its key and value are put; it sees the first `seen` places there
   or, where `seen` is 0, those up to its own. Or B is 1, and the cache is a tree of which the
   n tokens are the last: parents [at + n] come before their children, -1 being none; a token sees
   itself and those above it. All see the first `count` places of what is shared. */
typedef struct {
    int64_t rows, tokens;
    const int32_t *parents;
    const float *cosine, *sine; /* [positions][head / 2]; of a tree, a position is a depth */
    const Cache *shared, *cache;
    int64_t count, at, seen;
} Pass;

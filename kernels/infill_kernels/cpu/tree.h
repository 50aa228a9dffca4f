/* Which tokens of a tree each token sees, for sixteen queries at a time. */

#include "pass.h"

/* Sixteen queries of a tree: the tokens that any of them sees, and which of these each sees. */
typedef struct {
    int64_t first, count; /* in Tree.seen and Tree.masks */
} Group;

typedef struct {
    int32_t *depth, *seen; /* seen: tokens, in order */
    ints *masks;
    Group *groups;
    int64_t most; /* of what a group sees */
} Tree;

/* Fills in `groups` and `depth`, and returns how many entries `seen` and `masks` need. Queries are
   those of the tokens from `at` to n; `marks` has room for n. */
static int64_t outline(Tree *tree, const int32_t *parents, int64_t at, int64_t n, int64_t G,
                       int32_t *marks) {
    int64_t entries = 0;
    tree->most = 0;
    for (int64_t i = 0; i < n; i++) {
        tree->depth[i] = parents[i] < 0 ? 0 : tree->depth[parents[i]] + 1;
        marks[i] = -1;
    }
    for (int64_t g = 0; g < tiled((n - at) * G, LANES) / LANES; g++) {
        int64_t count = 0, last = at + (g * LANES + LANES - 1) / G;
        for (int64_t i = at + g * LANES / G; i <= last && i < n; i++)
            for (int64_t a = i; a >= 0 && marks[a] != g; a = parents[a]) marks[a] = g, count++;
        tree->groups[g] = (Group){entries, count};
        entries += count;
        if (count > tree->most) tree->most = count;
    }
    return entries;
}

static void fill_in(Tree *tree, const int32_t *parents, int64_t at, int64_t n, int64_t G,
                    int32_t *places) {
    for (int64_t g = 0; g < tiled((n - at) * G, LANES) / LANES; g++) {
        const Group group = tree->groups[g];
        int32_t *seen = tree->seen + group.first;
        ints *masks = tree->masks + group.first;
        int64_t first = at + g * LANES / G, last = at + (g * LANES + LANES - 1) / G, count = 0;
        for (int64_t i = 0; i < n; i++) places[i] = -1;
        for (int64_t i = first; i <= last && i < n; i++)
            for (int64_t a = i; a >= 0 && places[a] < 0; a = parents[a]) places[a] = 0;
        for (int64_t i = 0; i < n && i <= last; i++)
            if (!places[i]) places[i] = count, seen[count++] = i;
        memset(masks, 0, sizeof(ints) * count);
        for (int64_t lane = 0; lane < LANES; lane++) {
            int64_t i = at + (g * LANES + lane) / G;
            /* Lanes without a query see what the last one sees. */
            for (int64_t a = i < n ? i : n - 1; a >= 0; a = parents[a])
                masks[places[a]][lane] = -1;
        }
    }
}

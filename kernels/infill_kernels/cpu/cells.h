/* What a step decides of a canvas whose noise is a mask: which cells take what was said of them, where
   a hole ends, and whether a row is done. Its reference is the loop's own rules (infill_engine's
   noise, sampler, canvas and early_stop); as some 60 calls of numpy they take a twentieth of a pass. */

#include "level.h"

typedef struct {
    int64_t cells, mask, end;
    int64_t unending;         /* the cell that never ends its hole, or -1 */
    int64_t steps_left, step; /* this one included; counted from 1 */
    float bound, correction, doubt;
} Rules;

/* Of a row, [cells] each. */
typedef struct {
    const int64_t *hole; /* of each cell its number, below 0 where it is pinned */
    const int64_t *best, *sample;
    const float *entropy, *confidence;
    int64_t *token_ids;           /* this step's, then the next one's */
    int64_t *read;                /* what would be given out, a step ago and then now */
    float *shown;                 /* its entropies */
    uint8_t *decided;
} Row;

/* Whether a free cell competes to be accepted. */
INLINE int is_open(const Rules *rules, const Row *row, int64_t c) {
    return row->hole[c] >= 0 && row->token_ids[c] == rules->mask;
}

/* Accepts the surest open cells while the entropy of those before them sums to the bound, and of the
   first as many as the steps that are left want. order [cells] is to work in. */
static void accept_cells(const Rules *rules, const Row *row, int64_t *order, uint8_t *accepted) {
    int64_t open = 0;
    for (int64_t c = 0; c < rules->cells; c++) {
        accepted[c] = 0;
        if (!is_open(rules, row, c)) continue;
        int64_t at = open++;
        /* No number is the greatest. */
        for (; at && !(row->entropy[order[at - 1]] <= row->entropy[c]) &&
               row->entropy[c] == row->entropy[c];
             at--)
            order[at] = order[at - 1];
        order[at] = c;
    }
    const int64_t quota = (open + rules->steps_left - 1) / rules->steps_left;
    float sum = 0;
    for (int64_t rank = 0; rank < open; rank++) {
        const float own = row->entropy[order[rank]];
        sum += own;
        accepted[order[rank]] = sum - own <= rules->bound || rank < quota;
    }
}

/* Sets every free cell from the first end of its hole on to the token of the end, and decided. Only a
   cell that is decided ends a hole; where `decided` is NULL all are. */
static void close_row(const Rules *rules, const Row *row, const uint8_t *ends, int64_t *token_ids,
                      uint8_t *decided, int64_t *ended) {
    int64_t count = 0; /* holes that ended, few */
    for (int64_t c = 0; ends && c < rules->cells; c++) {
        if (row->hole[c] < 0) continue;
        int64_t known = 0;
        while (known < count && ended[known] != row->hole[c]) known++;
        if (known == count) {
            if (!ends[token_ids[c]] || c == rules->unending || (decided && !decided[c])) continue;
            ended[count++] = row->hole[c];
        }
        token_ids[c] = rules->end;
        if (decided) decided[c] = 1;
    }
}

/* A step of a row; whether it is done. */
static int settle_row(const Rules *rules, const Row *row, const uint8_t *ends, int64_t *next,
                      int64_t *read, int64_t *order, uint8_t *flags) {
    const int64_t T = rules->cells;
    accept_cells(rules, row, order, flags);
    for (int64_t c = 0; c < T; c++) {
        const int64_t id = row->token_ids[c];
        next[c] = flags[c] ? row->sample[c] : id;
        if (row->hole[c] >= 0 && id != rules->mask && row->best[c] != id) {
            if (row->confidence[c] >= rules->doubt) next[c] = rules->mask;
            if (row->confidence[c] >= rules->correction) next[c] = row->best[c];
        }
        row->decided[c] = row->hole[c] < 0 || next[c] != rules->mask;
    }
    close_row(rules, row, ends, next, row->decided, order);
    int whole = 1, stable = rules->step > 1;
    for (int64_t c = 0; c < T; c++) {
        const int free = row->hole[c] >= 0;
        read[c] = free && next[c] == rules->mask ? row->best[c] : next[c];
        row->shown[c] = free ? row->entropy[c] : 0;
        whole &= row->decided[c];
    }
    close_row(rules, row, ends, read, NULL, order);
    for (int64_t c = 0; c < T; c++) stable &= rules->step > 1 && read[c] == row->read[c];
    memcpy(row->read, read, 8 * T);
    if (whole && stable) return 1;
    memcpy(row->token_ids, next, 8 * T);
    return 0;
}

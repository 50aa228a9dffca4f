/* A growing array of numbers. 📈 */
#include <stdio.h>
#include <stdlib.h>

#define START 8

typedef struct {
    size_t used;
    size_t size;
    double *items;
} Array;

static int grow(Array *a)
{
    size_t size = a->size ? a->size * 2 : START;
    double *items = realloc(a->items, size * sizeof(*items));
    if (items == NULL) {
        return -1;
    }
    a->items = items;
    a->size = size;
    return 0;
}

int push(Array *a, double value)
{
    if (a->used == a->size && grow(a) != 0) {
        return -1;
    }
    a->items[a->used++] = value;
    return 0;
}

double mean(const Array *a)
{
    double sum = 0.0;
    for (size_t i = 0; i < a->used; i++) {
        sum += a->items[i];
    }
    return a->used > 0 ? sum / (double)a->used : 0.0;
}

int main(int argc, char **argv)
{
    Array a = {0};
    for (int i = 1; i < argc; i++) {
        push(&a, atof(argv[i]));
    }
    printf("Mittel: %f ✅😀\n", mean(&a));
    switch (argc) {
    case 1:
        fprintf(stderr, "no numbers\n");
        break;
    default:
        break;
    }
    free(a.items);
    return 0;
}

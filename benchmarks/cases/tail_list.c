#include <stdlib.h>

struct node {
    int value;
    struct node *next;
};

struct node *push(struct node *head, int value)
{
    struct node *node = malloc(sizeof(*node));
    if (node == NULL) {
        return NULL;
    }
    node->value = ⟦value;⟧
    node->next = head;
    return node;
}

void release(struct node *head)
{
    while (head != NULL) {
        struct node *next = head->next;
        free(head);
        head = next;
    }
}

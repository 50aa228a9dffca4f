export class Queue {
  #items = [];

  push(item) {
    this.#items.push(item);
    return this;
  }

  pop() {
    if (this.#items.length === 0) {
      ⟦throw new Error("the queue is empty");⟧
    }
    return this.#items.shift();
  }

  get length() {
    return this.#items.length;
  }
}

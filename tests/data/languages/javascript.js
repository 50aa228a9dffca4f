// A tiny event bus. 📬
import { readFile } from "node:fs/promises";

const LIMIT = 100;

export class Bus {
  #handlers = new Map();

  on(name, handler, { once = false } = {}) {
    const list = this.#handlers.get(name) ?? [];
    list.push({ handler, once });
    this.#handlers.set(name, list);
    return () => this.off(name, handler);
  }

  off(name, handler) {
    const list = this.#handlers.get(name);
    if (!list) {
      return;
    }
    this.#handlers.set(
      name,
      list.filter((entry) => entry.handler !== handler),
    );
  }

  async emit(name, ...values) {
    for (const { handler, once } of this.#handlers.get(name) ?? []) {
      await handler(...values);
      if (once) this.off(name, handler);
    }
  }
}

export async function load(path) {
  try {
    const text = await readFile(path, "utf8");
    const lines = text.split("\n").slice(0, LIMIT);
    return lines.map((line, i) => `${i}: ${line.trim()} 👍`);
  } catch (error) {
    console.error("cannot read", path, error);
    return [];
  }
}

const pattern = /^[a-z]+(\d*)$/u;
const colours = ["red", "green", "blue"];

switch (colours.length) {
  case 3:
    console.log(pattern.test("abc1"));
    break;
  default:
    throw new Error("colours are missing");
}

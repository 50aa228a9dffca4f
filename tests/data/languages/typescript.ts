// A cache with a size limit. 🗃️
import type { Clock } from "./clock";

export interface Options<K> {
  limit: number;
  readonly onDrop?: (key: K) => void;
}

type Entry<V> = { value: V; at: number };

enum State {
  Fresh = "fresh",
  Stale = "stale",
}

export class Cache<K extends string, V> {
  private readonly entries = new Map<K, Entry<V>>();

  constructor(
    private readonly clock: Clock,
    private readonly options: Options<K>,
  ) {}

  get(key: K): V | undefined {
    const entry = this.entries.get(key);
    if (entry === undefined) {
      return undefined;
    }
    entry.at = this.clock.now();
    return entry.value;
  }

  set(key: K, value: V): this {
    this.entries.set(key, { value, at: this.clock.now() });
    while (this.entries.size > this.options.limit) {
      const [oldest] = [...this.entries.keys()];
      this.entries.delete(oldest as K);
      this.options.onDrop?.(oldest as K);
    }
    return this;
  }

  state(key: K): State {
    return this.entries.has(key) ? State.Fresh : State.Stale;
  }
}

export function describe<T>(items: readonly T[], name = "items 🎈"): string {
  return `${items.length} ${name}`;
}

declare module "./clock" {
  interface Clock {
    zone: string;
  }
}

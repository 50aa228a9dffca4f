// When a server that died is started again: policy, without a clock of its own.

const WAITS_MS = [500, 2_000, 8_000, 30_000];
// One that ran so long did not die of its start: the next crash begins a new series.
const STABLE_MS = 180_000;

export interface Verdict {
  /** Milliseconds until the next start; undefined when it stays down. */
  wait: number | undefined;
  /** Whether the user is notified: once a series. */
  notify: boolean;
}

export class Backoff {
  private crashes = 0;
  private startedAt = 0;

  started(now: number): void {
    this.startedAt = now;
  }

  /** By hand, so the user knows of what went before. */
  reset(): void {
    this.crashes = 0;
  }

  died(now: number): Verdict {
    if (now - this.startedAt >= STABLE_MS) {
      this.crashes = 0;
    }
    const wait = WAITS_MS[this.crashes];
    this.crashes += 1;
    return { wait, notify: this.crashes === 1 };
  }
}

// Starts, restarts and ends the server's process, one thing at a time, so that there is never a
// second one and none is left behind. Knows nothing of VS Code or of the protocol.
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { Backoff } from './backoff';
import type { Facts } from './status';

/** What speaks with a server's process; a language client is one. */
export interface Connection {
  /** Settles when the server is initialized; may never do so. */
  start(): Promise<void>;
  /** Has the server shut down. Fails while it is still starting, and after so many milliseconds. */
  stop(timeoutMs: number): Promise<void>;
}

/** Milliseconds that each way of ending a process is given before the next, more forcible one. */
export interface Timeouts {
  /** For the answer to `shutdown`. */
  shutdown: number;
  /** For the process to end by itself after `exit`. */
  exit: number;
  /** For the process to end after SIGTERM. */
  terminate: number;
}

// VS Code gives an extension five seconds to deactivate: together these must stay below.
const TIMEOUTS: Timeouts = { shutdown: 1500, exit: 1000, terminate: 1000 };

export interface Host<C extends Connection> {
  /** `closed` is to be called when the stream has ended. */
  connect(child: ChildProcessWithoutNullStreams, closed: () => void): C;
  changed(facts: Partial<Facts>): void;
  error(message: string): void;
  /** Notifies the user that the server died: once in a series of crashes. */
  notifyDied(): void;
  /** Where the server is started. Not in the workspace: a model's name would be looked for there
   * as a folder, and `python -m` would import from there. */
  cwd: string;
  timeouts?: Timeouts;
}

/** A program and its arguments. */
export type Command = readonly [string, ...string[]];

interface Run<C extends Connection> {
  command: Command;
  child: ChildProcessWithoutNullStreams;
  connection: C;
  initialized: boolean;
  lastError: string;
}

export class Supervisor<C extends Connection> {
  private run: Run<C> | undefined;
  private readonly backoff = new Backoff();
  private queue: Promise<unknown> = Promise.resolve();
  // Counts what was asked for; what belongs to an older number is no longer wanted.
  private asked = 0;
  private timer: NodeJS.Timeout | undefined;
  private closed = false;

  constructor(private readonly host: Host<C>) {}

  /** To the server that runs; undefined while none is initialized. */
  get connection(): C | undefined {
    return this.run?.initialized ? this.run.connection : undefined;
  }

  /** Ends what runs and starts the command line that `find` gives, if it gives one. Of calls that
   * overlap only the last starts anything. */
  restart(find: () => Command | undefined): Promise<void> {
    const mine = ++this.asked;
    return this.next(async () => {
      if (mine !== this.asked) {
        return;
      }
      this.backoff.reset();
      await this.end();
      const command = mine === this.asked && !this.closed ? find() : undefined;
      if (command !== undefined) {
        this.launch(command);
      }
    });
  }

  /** Ends what runs, and carries out `task` while nothing can start; undefined when closed. */
  whileStopped<T>(task: () => Promise<T>): Promise<T | undefined> {
    this.asked += 1;
    return this.next(async () => {
      await this.end();
      return task();
    });
  }

  /** For good: settles when the process is gone. */
  close(): Promise<void> {
    this.closed = true;
    clearTimeout(this.timer);
    return this.queue.then(() => this.end());
  }

  private next<T>(task: () => Promise<T>): Promise<T | undefined> {
    const done = this.queue.then(() => (this.closed ? undefined : task()));
    this.queue = done.catch(() => undefined);
    return done;
  }

  private launch(command: Command): void {
    // Busy until the server says it is not: it answers before it has begun to load.
    this.host.changed({ server: 'starting', busy: 'loading the model', problem: '' });
    this.backoff.started(Date.now());
    const [program, ...args] = command;
    const child = spawn(program, args, { cwd: this.host.cwd, windowsHide: true });
    const closed = (): void => this.died(run);
    const run: Run<C> = {
      command,
      child,
      connection: this.host.connect(child, closed),
      initialized: false,
      lastError: '',
    };
    this.run = run;
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      run.lastError = text.trim().split('\n').at(-1) ?? '';
    });
    child.stdin.on('error', () => undefined); // it ended, and `closed` is called
    child.on('error', (error) => {
      run.lastError = error.message;
      closed();
    });
    run.connection.start().then(
      () => {
        if (this.run === run) {
          run.initialized = true;
          this.host.changed({ server: 'running' });
        }
      },
      (error: unknown) => {
        run.lastError ||= String(error);
        closed();
      },
    );
  }

  private async end(): Promise<void> {
    const run = this.run;
    this.run = undefined;
    clearTimeout(this.timer);
    if (run === undefined) {
      return;
    }
    const timeouts = this.host.timeouts ?? TIMEOUTS;
    if (!run.initialized) {
      // It cannot be asked to shut down yet.
      return ended(run.child, { ...timeouts, exit: 0 });
    }
    const stopped = run.connection.stop(timeouts.shutdown).catch((error: unknown) => {
      this.host.error(`the server did not shut down: ${String(error)}`);
    });
    await Promise.race([stopped, passed(timeouts.shutdown)]);
    await ended(run.child, timeouts);
  }

  /** Called by whoever notices first: the closed stream, the failed spawn or the failed start. */
  private died(run: Run<C>): void {
    if (this.run !== run) {
      return;
    }
    this.run = undefined;
    // A stream can be closed, and `initialize` refused, by a process that lives on.
    void this.next(() => ended(run.child, this.host.timeouts ?? TIMEOUTS));
    const { wait, notify } = this.backoff.died(Date.now());
    const reason = `the server ended${run.lastError && `: ${run.lastError}`}`;
    this.host.error(`${reason}; ${wait === undefined ? 'it stays down' : `again in ${wait} ms`}`);
    if (wait === undefined) {
      this.host.changed({ server: 'failed', reason });
    } else {
      this.host.changed({ server: 'starting', busy: '', problem: '' });
      const mine = this.asked;
      const again = async (): Promise<void> => {
        if (mine === this.asked) {
          this.launch(run.command);
        }
      };
      this.timer = setTimeout(() => void this.next(again), wait);
    }
    if (notify) {
      this.host.notifyDied();
    }
  }
}

/** Settles when the process is gone, and sees to it that it goes. */
async function ended(
  child: ChildProcessWithoutNullStreams,
  timeouts: Timeouts,
): Promise<void> {
  if (child.pid === undefined) {
    return; // it never started
  }
  const gone = new Promise<void>((resolve) => {
    if (child.exitCode !== null || child.signalCode !== null) {
      resolve();
    } else {
      child.once('exit', () => resolve());
    }
  });
  const goneWithin = (ms: number): Promise<boolean> =>
    Promise.race([gone.then(() => true), passed(ms).then(() => false)]);
  child.stdin.end();
  if (await goneWithin(timeouts.exit)) {
    return;
  }
  child.kill('SIGTERM');
  if (await goneWithin(timeouts.terminate)) {
    return;
  }
  child.kill('SIGKILL');
  await gone;
}

function passed(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

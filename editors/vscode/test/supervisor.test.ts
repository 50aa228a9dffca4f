// With real processes: what is left running is what matters.
import assert from 'node:assert/strict';
import { type ChildProcessWithoutNullStreams } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, test } from 'node:test';
import { type Command, type Connection, Supervisor } from '../src/supervisor';

const folder = mkdtempSync(join(tmpdir(), 'infill-supervisor-'));
const children: ChildProcessWithoutNullStreams[] = [];
// A test that fails must not leave what it found.
afterEach(() => children.forEach((child) => child.kill('SIGKILL')));
after(() => rmSync(folder, { recursive: true }));

function program(name: string, code: string): Command {
  const file = join(folder, name);
  writeFileSync(file, `#!${process.execPath}\n${code}\n`, { mode: 0o755 });
  return [file];
}

// It says when it is up, so that no signal comes before its handler.
const UP = "setInterval(() => {}, 1000); process.stdout.write('up');";
const willing = program('willing', `process.stdin.resume().on('end', () => process.exit()); ${UP}`);
const slow = program(
  'slow',
  `process.stdin.resume().on('end', () => setTimeout(() => process.exit(), 150)); ${UP}`,
);
const stubborn = program('stubborn', `process.on('SIGTERM', () => {}); ${UP}`);
const closing = program('closing', `require('fs').closeSync(1); setInterval(() => {}, 1000);`);

type Start = 'initialized' | 'never' | 'refused';

/** Stands for a language client: initialized when the process is up. Its `stop` never answers. */
class Fake implements Connection {
  constructor(
    readonly child: ChildProcessWithoutNullStreams,
    private readonly how: Start,
    closed: () => void,
  ) {
    children.push(child);
    child.stdout.on('close', closed);
  }

  start(): Promise<void> {
    return new Promise((resolve, reject) =>
      this.child.stdout.once('data', () => {
        if (this.how === 'initialized') {
          resolve();
        } else if (this.how === 'refused') {
          reject(new Error('no'));
        }
      }),
    );
  }

  stop(): Promise<void> {
    return new Promise(() => undefined);
  }
}

/** A supervisor with fakes round it. */
class Trial {
  readonly started: Fake[] = [];
  readonly states: string[] = [];
  mostAtOnce = 0;
  numNotified = 0;
  readonly supervisor: Supervisor<Fake>;

  constructor(how: Start = 'initialized') {
    this.supervisor = new Supervisor<Fake>({
      connect: (child, closed) => {
        const fake = new Fake(child, how, closed);
        this.started.push(fake);
        this.mostAtOnce = Math.max(this.mostAtOnce, this.running);
        return fake;
      },
      changed: ({ server }) => server && this.states.push(server),
      error: () => undefined,
      notifyDied: () => (this.numNotified += 1),
      cwd: folder,
      timeouts: { shutdown: 20, exit: 40, terminate: 300 },
    });
  }

  get running(): number {
    return this.started.filter(({ child }) => alive(child)).length;
  }

  async up(): Promise<void> {
    await until(() => this.supervisor.connection !== undefined);
  }
}

function alive(child: ChildProcessWithoutNullStreams): boolean {
  try {
    return child.pid !== undefined && process.kill(child.pid, 0);
  } catch {
    return false;
  }
}

async function until(condition: () => boolean): Promise<void> {
  const end = Date.now() + 10_000;
  while (!condition()) {
    assert.ok(Date.now() < end, 'it did not come about');
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

for (const [name, file] of Object.entries({ willing, slow, stubborn })) {
  test(`a ${name} server is gone when closing is done`, async () => {
    const trial = new Trial();
    await trial.supervisor.restart(() => file);
    await trial.up();
    await trial.supervisor.close();
    assert.equal(trial.started.length, 1);
    assert.equal(trial.running, 0);
    assert.equal(trial.numNotified, 0);
  });

  test(`restarts of a ${name} server that overlap leave one`, async () => {
    const trial = new Trial();
    await trial.supervisor.restart(() => file);
    await trial.up();
    const restarts = [1, 2, 3].map(() => trial.supervisor.restart(() => file));
    await Promise.all(restarts);
    await trial.up();
    assert.equal(trial.running, 1);
    assert.equal(trial.started.length, 2); // only the last of the three started one

    void trial.supervisor.restart(() => file);
    await new Promise((resolve) => setTimeout(resolve, 10));
    await trial.supervisor.restart(() => file); // while the first still waits for the end
    await trial.up();
    assert.equal(trial.mostAtOnce, 1);
    await trial.supervisor.close();
    assert.equal(trial.running, 0);
  });
}

test('a server that is not initialized yet can be restarted and closed', async () => {
  const trial = new Trial('never');
  await trial.supervisor.restart(() => willing);
  await trial.supervisor.restart(() => willing);
  assert.equal(trial.running, 1);
  assert.equal(trial.supervisor.connection, undefined);
  await trial.supervisor.close();
  assert.equal(trial.running, 0);
  assert.equal(trial.numNotified, 0);
});

test('nothing starts after closing, whatever was waiting', async () => {
  const trial = new Trial();
  void trial.supervisor.restart(() => slow);
  void trial.supervisor.restart(() => slow);
  await trial.supervisor.close();
  await trial.supervisor.restart(() => slow);
  assert.equal(trial.running, 0);
});

test('one that died is started again; one that was ended is not', async () => {
  const trial = new Trial();
  await trial.supervisor.restart(() => willing);
  await trial.up();
  trial.started[0]?.child.kill('SIGKILL');
  await until(() => trial.started.length === 2);
  await trial.up();
  assert.equal(trial.numNotified, 1);

  trial.started[1]?.child.kill('SIGKILL');
  await until(() => trial.supervisor.connection === undefined);
  await trial.supervisor.restart(() => undefined); // while it waits to start another
  await new Promise((resolve) => setTimeout(resolve, 2300));
  assert.equal(trial.started.length, 2);
  assert.equal(trial.running, 0);
  await trial.supervisor.close();
});

const halfDead: [string, Start, Command][] = [
  ['refuses to initialize', 'refused', stubborn],
  ['closes its stream', 'never', closing],
];
for (const [name, how, file] of halfDead) {
  test(`a process that ${name} and lives on is ended`, async () => {
    const trial = new Trial(how);
    await trial.supervisor.restart(() => file);
    await until(() => trial.numNotified === 1);
    await until(() => trial.running === 0);
    await trial.supervisor.close();
  });
}

test('a program that cannot be started counts as died', async () => {
  const trial = new Trial();
  await trial.supervisor.restart(() => [join(folder, 'gone')]);
  await until(() => trial.numNotified === 1);
  await trial.supervisor.close();
  assert.equal(trial.running, 0);
});

test('nothing runs while it is being installed, and a restart waits for that', async () => {
  const trial = new Trial();
  await trial.supervisor.restart(() => willing);
  await trial.up();
  let finish = (): void => undefined;
  const installed = trial.supervisor.whileStopped(async () => {
    await new Promise<void>((resolve) => (finish = resolve));
    return 'done';
  });
  const restarted = trial.supervisor.restart(() => willing);
  await until(() => trial.running === 0);
  assert.equal(trial.started.length, 1);
  finish();
  assert.equal(await installed, 'done');
  await restarted;
  assert.equal(trial.started.length, 2);
  await trial.supervisor.close();
});

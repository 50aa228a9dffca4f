// With real processes: what is left running is what matters.
import assert from 'node:assert/strict';
import { type ChildProcessWithoutNullStreams } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, test } from 'node:test';
import { type Connection, Supervisor } from '../src/supervisor';

const folder = mkdtempSync(join(tmpdir(), 'infill-supervisor-'));
const children: ChildProcessWithoutNullStreams[] = [];
// A test that fails must not leave what it found.
afterEach(() => children.forEach((child) => child.kill('SIGKILL')));
after(() => rmSync(folder, { recursive: true }));

function program(name: string, code: string): string {
  const file = join(folder, name);
  writeFileSync(file, `#!${process.execPath}\n${code}\n`, { mode: 0o755 });
  return file;
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
class Desk {
  readonly started: Fake[] = [];
  readonly states: string[] = [];
  mostAtOnce = 0;
  numTold = 0;
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
      tellDied: () => (this.numTold += 1),
      cwd: folder,
      patience: { shutdown: 20, exit: 40, terminate: 300 },
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
    const desk = new Desk();
    await desk.supervisor.restart(() => file);
    await desk.up();
    await desk.supervisor.close();
    assert.equal(desk.started.length, 1);
    assert.equal(desk.running, 0);
    assert.equal(desk.numTold, 0);
  });

  test(`restarts of a ${name} server that overlap leave one`, async () => {
    const desk = new Desk();
    await desk.supervisor.restart(() => file);
    await desk.up();
    const restarts = [1, 2, 3].map(() => desk.supervisor.restart(() => file));
    await Promise.all(restarts);
    await desk.up();
    assert.equal(desk.running, 1);
    assert.equal(desk.started.length, 2); // only the last of the three started one

    void desk.supervisor.restart(() => file);
    await new Promise((resolve) => setTimeout(resolve, 10));
    await desk.supervisor.restart(() => file); // while the first still waits for the end
    await desk.up();
    assert.equal(desk.mostAtOnce, 1);
    await desk.supervisor.close();
    assert.equal(desk.running, 0);
  });
}

test('a server that is not initialized yet can be restarted and closed', async () => {
  const desk = new Desk('never');
  await desk.supervisor.restart(() => willing);
  await desk.supervisor.restart(() => willing);
  assert.equal(desk.running, 1);
  assert.equal(desk.supervisor.connection, undefined);
  await desk.supervisor.close();
  assert.equal(desk.running, 0);
  assert.equal(desk.numTold, 0);
});

test('nothing starts after closing, whatever was waiting', async () => {
  const desk = new Desk();
  void desk.supervisor.restart(() => slow);
  void desk.supervisor.restart(() => slow);
  await desk.supervisor.close();
  await desk.supervisor.restart(() => slow);
  assert.equal(desk.running, 0);
});

test('one that died is started again; one that was ended is not', async () => {
  const desk = new Desk();
  await desk.supervisor.restart(() => willing);
  await desk.up();
  desk.started[0]?.child.kill('SIGKILL');
  await until(() => desk.started.length === 2);
  await desk.up();
  assert.equal(desk.numTold, 1);

  desk.started[1]?.child.kill('SIGKILL');
  await until(() => desk.supervisor.connection === undefined);
  await desk.supervisor.restart(() => undefined); // while it waits to start another
  await new Promise((resolve) => setTimeout(resolve, 2300));
  assert.equal(desk.started.length, 2);
  assert.equal(desk.running, 0);
  await desk.supervisor.close();
});

const halfDead: [string, Start, string][] = [
  ['refuses to initialize', 'refused', stubborn],
  ['closes its stream', 'never', closing],
];
for (const [name, how, file] of halfDead) {
  test(`a process that ${name} and lives on is ended`, async () => {
    const desk = new Desk(how);
    await desk.supervisor.restart(() => file);
    await until(() => desk.numTold === 1);
    await until(() => desk.running === 0);
    await desk.supervisor.close();
  });
}

test('a program that cannot be started counts as died', async () => {
  const desk = new Desk();
  await desk.supervisor.restart(() => join(folder, 'gone'));
  await until(() => desk.numTold === 1);
  await desk.supervisor.close();
  assert.equal(desk.running, 0);
});

test('nothing runs while it is being installed, and a restart waits for that', async () => {
  const desk = new Desk();
  await desk.supervisor.restart(() => willing);
  await desk.up();
  let finish = (): void => undefined;
  const installed = desk.supervisor.whileStopped(async () => {
    await new Promise<void>((resolve) => (finish = resolve));
    return 'done';
  });
  const restarted = desk.supervisor.restart(() => willing);
  await until(() => desk.running === 0);
  assert.equal(desk.started.length, 1);
  finish();
  assert.equal(await installed, 'done');
  await restarted;
  assert.equal(desk.started.length, 2);
  await desk.supervisor.close();
});

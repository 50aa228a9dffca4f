import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { posix, win32 } from 'node:path';
import { test } from 'node:test';
import {
  type Consent,
  type Disk,
  modelOptions,
  findServer,
  type Manifest,
  modelSettings,
  type Places,
} from '../src/find';

const holding = (...files: string[]): Disk => ({
  windows: false,
  join: posix.join,
  dirname: posix.dirname,
  absolute: posix.isAbsolute,
  real: (file) => file.replace(/^\/link(?=\/|$)/, '/w'),
  executable: (file) => files.includes(file),
});
const places: Places = {
  configured: '',
  folders: ['/w'],
  path: ['/usr/bin'],
  managed: '/own',
  home: '/home/me',
};
const yes: Consent = { trusted: true, answer: () => true };
const no: Consent = { trusted: true, answer: () => false };
const unasked: Consent = { trusted: true, answer: () => undefined };
const untrusted: Consent = { trusted: false, answer: () => true };

const WORKSPACE = '/w/.venv/bin/infill-ls';
const everywhere = holding(WORKSPACE, '/usr/bin/infill-ls', '/own/bin/infill-ls', '/c');

const order: [string, Partial<Places>, Disk, string][] = [
  ['a configured path comes before all others', { configured: '/c' }, everywhere, '/c'],
  ["the one on PATH comes before the workspace's", {}, everywhere, '/usr/bin/infill-ls'],
  [
    'what uv or pipx installed is found without PATH',
    {},
    holding(WORKSPACE, '/own/bin/infill-ls', '/home/me/.local/bin/infill-ls'),
    '/home/me/.local/bin/infill-ls',
  ],
  [
    "what the extension installed comes before the workspace's",
    {},
    holding(WORKSPACE, '/own/bin/infill-ls'),
    '/own/bin/infill-ls',
  ],
  ["the workspace's is taken where there is no other", {}, holding(WORKSPACE), WORKSPACE],
];
for (const [name, changed, disk, command] of order) {
  test(name, () => {
    const found = findServer({ ...places, ...changed }, yes, disk);
    assert.equal(found.kind === 'found' && found.command, command);
  });
}

const consents: [string, Consent, boolean | undefined, RegExp][] = [
  ['not before the workspace is trusted', untrusted, undefined, /trust/],
  ['not before the user was asked', unasked, true, /answer/],
  ['not after the user refused', no, undefined, /refused/],
];
for (const [name, consent, ask, reason] of consents) {
  test(`the program of a workspace is not started: ${name}`, () => {
    const found = findServer(places, consent, holding(WORKSPACE));
    assert.ok(found.kind === 'absent');
    assert.equal(found.workspaceServer, WORKSPACE);
    assert.equal(found.ask, ask);
    assert.match(found.reason, reason);
  });
}

const onPath: [string, Partial<Places>, string][] = [
  ['a folder of it on PATH', { path: ['/w/bin'] }, '/w/bin/infill-ls'],
  ['a folder of it on PATH by a link', { path: ['/link/bin'] }, '/link/bin/infill-ls'],
  ['the workspace opened by a link', { path: ['/w/bin'], folders: ['/link'] }, '/w/bin/infill-ls'],
];
for (const [name, changed, program] of onPath) {
  test(`the program of a workspace stays one: ${name}`, () => {
    const found = findServer({ ...places, ...changed }, untrusted, holding(program));
    assert.equal(found.kind === 'absent' && found.workspaceServer, program);
  });
}

test('a folder beside the workspace, and the home folder, are not in the workspace', () => {
  for (const changed of [
    { path: ['/w2'] },
    { path: ['/home/me/.local/bin'], folders: ['/home/me'] },
    { path: ['/home/me/.local/bin'], folders: ['/'] },
  ]) {
    const command = `${changed.path[0]}/infill-ls`;
    const found = findServer({ ...places, ...changed }, untrusted, holding(command));
    assert.equal(found.kind === 'found' && found.command, command);
  }
});

test('a configured path that is wrong is said and not passed over', () => {
  for (const configured of ['/gone', 'infill-ls', '.venv/bin/infill-ls']) {
    const disk = holding('.venv/bin/infill-ls', '/usr/bin/infill-ls');
    const found = findServer({ ...places, configured }, yes, disk);
    assert.ok(found.kind === 'absent');
    assert.ok(found.reason.includes(configured), found.reason);
  }
});

test('without any it is not installed', () => {
  assert.deepEqual(findServer(places, yes, holding()), {
    kind: 'absent',
    reason: 'infill-ls is not installed',
  });
});

test('a relative part of PATH counts for nothing', () => {
  for (const folder of ['', '.', 'bin']) {
    const disk = holding(posix.join(folder, 'infill-ls'));
    assert.equal(findServer({ ...places, path: [folder] }, yes, disk).kind, 'absent');
  }
});

test('Windows keeps programs in Scripts', () => {
  const program = 'C:\\w\\venv\\Scripts\\infill-ls.exe';
  const disk: Disk = {
    windows: true,
    join: win32.join,
    dirname: win32.dirname,
    absolute: win32.isAbsolute,
    real: (file) => file,
    executable: (file) => file === program,
  };
  const found = findServer({ ...places, folders: ['C:\\w'] }, yes, disk);
  assert.equal(found.kind === 'found' && found.command, program);
});

const manifest: Manifest = JSON.parse(readFileSync('package.json', 'utf8'));

test('the settings of the model are options of the command line', () => {
  const settings: Record<string, unknown> = {
    model: 'https://host#name',
    device: null,
    threads: 2,
    remoteKeyFile: '/key',
    remoteCaFile: '/ca.pem',
    remoteTokenizer: '',
    remoteTimeout: 0.5,
    maxLines: 3,
  };
  assert.deepEqual(modelOptions(modelSettings(manifest), (name) => settings[name]), [
    ...['--model', 'https://host#name', '--threads', '2', '--remote-key-file', '/key'],
    ...['--remote-ca-file', '/ca.pem', '--remote-timeout', '0.5'],
  ]);
  assert.deepEqual(modelOptions(modelSettings(manifest), () => undefined), []);
});

test('a setting that is a switch is given by its name alone', () => {
  assert.deepEqual(modelOptions(['remoteUse', 'remoteSkip'], (name) => name === 'remoteUse'), [
    '--remote-use',
  ]);
});

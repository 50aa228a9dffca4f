import assert from 'node:assert/strict';
import { posix, win32 } from 'node:path';
import { test } from 'node:test';
import { type Disk, doctorArguments, findServer } from '../src/find';

const holding = (...files: string[]): Disk => ({
  windows: false,
  join: posix.join,
  executable: (file) => files.includes(file),
});
const nowhere = { configured: '', folders: ['/w'], path: ['/usr/bin'], managed: '/own' };

const everywhere = holding('/w/.venv/bin/infill-ls', '/usr/bin/infill-ls', '/own/bin/infill-ls', '/c');

test('a configured path comes before all others', () => {
  assert.deepEqual(findServer({ ...nowhere, configured: '/c' }, everywhere), {
    command: '/c',
    where: 'the setting infill-ls.path',
  });
});

test('a configured path that is wrong is said and not passed over', () => {
  assert.match(String(findServer({ ...nowhere, configured: '/gone' }, everywhere)), /\/gone/);
});

test('the environment of the workspace comes before PATH', () => {
  assert.deepEqual(findServer(nowhere, everywhere), {
    command: '/w/.venv/bin/infill-ls',
    where: "the workspace's .venv",
  });
});

test('nothing of a workspace that is not trusted is run', () => {
  assert.deepEqual(findServer({ ...nowhere, folders: [] }, everywhere), {
    command: '/usr/bin/infill-ls',
    where: 'PATH',
  });
});

test('what was installed before is found last', () => {
  assert.deepEqual(findServer(nowhere, holding('/own/bin/infill-ls')), {
    command: '/own/bin/infill-ls',
    where: 'its own environment',
  });
  assert.equal(findServer(nowhere, holding()), 'infill-ls is not installed');
});

test('an empty part of PATH is not the current folder', () => {
  assert.equal(typeof findServer({ ...nowhere, path: [''] }, holding('infill-ls')), 'string');
});

test('Windows keeps programs in Scripts', () => {
  const disk: Disk = {
    windows: true,
    join: win32.join,
    executable: (file) => file === 'C:\\w\\venv\\Scripts\\infill-ls.exe',
  };
  const found = findServer({ ...nowhere, folders: ['C:\\w'] }, disk);
  assert.equal(typeof found !== 'string' && found.where, "the workspace's venv");
});

test('the doctor looks at the model of the settings', () => {
  const settings: Record<string, unknown> = { model: '/m', threads: 2, device: null };
  assert.deepEqual(doctorArguments((name) => settings[name]), ['doctor', '--model', '/m', '--threads', '2']);
  assert.deepEqual(doctorArguments(() => undefined), ['doctor']);
});

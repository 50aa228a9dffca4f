import assert from 'node:assert/strict';
import { test } from 'node:test';
import { progressOf, pythons, reasonOf, steps, uvs, uvSteps } from '../src/install';

test('a configured Python stands alone', () => {
  assert.deepEqual(pythons('/opt/python', false), [['/opt/python']]);
  assert.equal(pythons('', false)[0]?.[0], 'python3');
  assert.deepEqual(pythons('', true)[0], ['py', '-3']);
});

test('first an environment, then the server into it', () => {
  const [first, second] = steps(['py', '-3'], '/e', 'infill-ls', '/e/bin/python');
  assert.deepEqual(first?.args, ['-3', '-m', 'venv', '--clear', '/e']);
  assert.equal(second?.command, '/e/bin/python');
  assert.equal(second?.args.at(-1), 'infill-ls');
});

test('uv is looked for where its installer puts it, and fetches a Python that fits', () => {
  assert.deepEqual(uvs('/home/me', false), ['uv', '/home/me/.local/bin/uv']);
  assert.equal(uvs('C:\\Users\\me', true)[1], 'C:\\Users\\me\\.local\\bin\\uv.exe');
  const [first, second] = uvSteps('uv', '', '/e', 'infill-ls', '/e/bin/python');
  assert.deepEqual(first?.args.slice(-3), ['--python', '>=3.11,<3.15', '/e']);
  assert.deepEqual(second?.args, ['pip', 'install', '--python', '/e/bin/python', 'infill-ls']);
  assert.ok(uvSteps('uv', '/opt/python', '/e', 'p', '/i')[0]?.args.includes('/opt/python'));
});

test('progress is the last thing pip says it does', () => {
  assert.equal(progressOf('Collecting a\n  Downloading a.whl\n   ---- 1/2 MB\n'), 'Downloading a.whl');
  assert.equal(progressOf('   ---- 1/2 MB'), undefined);
  assert.equal(progressOf(`Collecting ${'a'.repeat(90)}`)?.length, 60);
});

test("the reason is pip's own", () => {
  assert.equal(reasonOf('ERROR: No matching distribution\nnotice: upgrade\n'), 'ERROR: No matching distribution');
  assert.equal(reasonOf('error: No solution found\nhint: no\n'), 'error: No solution found');
  assert.equal(reasonOf('Traceback\nOSError: full\n'), 'OSError: full');
  assert.equal(reasonOf(''), 'it said nothing');
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { progressOf, pythons, reasonOf, steps } from '../src/install';

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

test('progress is the last thing pip says it does', () => {
  assert.equal(progressOf('Collecting a\n  Downloading a.whl\n   ---- 1/2 MB\n'), 'Downloading a.whl');
  assert.equal(progressOf('   ---- 1/2 MB'), undefined);
  assert.equal(progressOf(`Collecting ${'a'.repeat(90)}`)?.length, 60);
});

test("the reason is pip's own", () => {
  assert.equal(reasonOf('ERROR: No matching distribution\nnotice: upgrade\n'), 'ERROR: No matching distribution');
  assert.equal(reasonOf('Traceback\nOSError: full\n'), 'OSError: full');
  assert.equal(reasonOf(''), 'it said nothing');
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MINUTES, accepted } from '../src/stats';

test('what was accepted is said once there is something', () => {
  assert.equal(accepted({ characters: 0, looked_at: 0, kept: 0 }), '');
  assert.equal(accepted({ characters: 1234, looked_at: 0, kept: 0 }), '1,234 characters accepted');
  assert.equal(
    accepted({ characters: 1234, looked_at: 200, kept: 181 }),
    '1,234 characters accepted, 91 % of them still there after 30 s',
  );
});

test('a snooze can be ended', () => {
  assert.equal(MINUTES.at(-1), 0);
});

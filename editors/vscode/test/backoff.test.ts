import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Backoff } from '../src/backoff';

test('every crash waits longer, one message is shown, then it stays down', () => {
  const backoff = new Backoff();
  const verdicts = [1, 2, 3, 4, 5].map((second) => {
    backoff.started(second * 1000);
    return backoff.died(second * 1000 + 10);
  });
  assert.deepEqual(verdicts.map(({ wait }) => wait), [500, 2000, 8000, 30000, undefined]);
  assert.deepEqual(verdicts.map(({ notify }) => notify), [true, false, false, false, false]);
});

test('a server that ran for long begins a new series', () => {
  const backoff = new Backoff();
  backoff.started(0);
  backoff.died(100);
  backoff.started(1000);
  assert.deepEqual(backoff.died(200_000), { wait: 500, notify: true });
});

test('a restart by hand begins a new series', () => {
  const backoff = new Backoff();
  backoff.started(0);
  backoff.died(1);
  backoff.reset();
  backoff.started(2);
  assert.deepEqual(backoff.died(3), { wait: 500, notify: true });
});

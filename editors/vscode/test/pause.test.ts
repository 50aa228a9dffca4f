import assert from 'node:assert/strict';
import { test } from 'node:test';
import { pausedIn, toggled, toggledFile } from '../src/pause';

const on = { enable: true, disabledLanguages: ['markdown'] };

test('the widest pause counts', () => {
  assert.equal(pausedIn(on, [], 'a', 'python'), undefined);
  assert.equal(pausedIn(on, ['a'], 'a', 'python'), 'here');
  assert.equal(pausedIn(on, ['a'], 'a', 'markdown'), 'language');
  assert.equal(pausedIn({ ...on, enable: false }, ['a'], 'a', 'markdown'), 'everywhere');
  assert.equal(pausedIn(on, ['a'], undefined, undefined), undefined);
});

test('toggling twice changes nothing', () => {
  assert.deepEqual(toggled(toggled(['a'], 'b'), 'b'), ['a']);
});

test('forgotten pauses do not pile up', () => {
  const many = Array.from({ length: 500 }, (_, index) => `f${index}`);
  assert.equal(toggledFile(many, 'new').length, 200);
  assert.equal(toggledFile(many, 'new').at(-1), 'new');
});

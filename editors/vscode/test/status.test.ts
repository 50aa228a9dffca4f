import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Facts, appearance, menu, type State } from '../src/status';

const ready: Facts = {
  server: 'running',
  reason: '',
  workspaceServer: '',
  busy: '',
  problem: '',
  note: '',
  accepted: '',
  paused: undefined,
};

const cases: [string, Partial<Facts>, State, RegExp][] = [
  ['a running server is ready', {}, 'ready', /ready/],
  ['a request is under way', { busy: 'thinking' }, 'thinking', /thinking/],
  ['the process starts', { server: 'starting' }, 'loading', /starting/],
  ['the model loads', { busy: 'loading the model' }, 'loading', /model/],
  ['it is snoozed', { note: 'snoozed until 15:30' }, 'paused', /until 15:30/],
  ['a key would show something', { note: 'a suggestion is ready' }, 'held', /is ready/],
  ['it is being installed', { server: 'installing' }, 'loading', /installing/],
  ['pausing hides loading', { busy: 'loading the model', paused: 'here' }, 'paused', /this file/],
  ['paused in a language', { paused: 'language' }, 'paused', /this language/],
  ['the model cannot be loaded', { problem: 'no such folder' }, 'error', /no such folder/],
  ['a problem is said even while paused', { problem: 'x', paused: 'everywhere' }, 'error', /x/],
  ['there is no server', { server: 'absent', reason: 'not installed' }, 'error', /not installed/],
  ['it crashed too often', { server: 'failed', reason: 'it ended' }, 'error', /it ended/],
];
for (const [name, facts, state, tooltip] of cases) {
  test(name, () => {
    const shown = appearance({ ...ready, ...facts });
    assert.equal(shown.state, state);
    assert.match(shown.tooltip, tooltip);
  });
}

const labels = (facts: Partial<Facts>, file?: string, language?: string): string =>
  menu({ ...ready, ...facts }, file, language)
    .map(({ label }) => label.replace(/^\$\([^)]*\) /, ''))
    .join('|');

test('the menu pauses here, in the language and everywhere', () => {
  assert.match(labels({}, 'a.py', 'python'), /^Pause in a.py\|Pause in python\|Pause everywhere\|Snooze\|Why[^|]*\|Restart/);
});

test('the menu resumes what is paused', () => {
  assert.match(labels({ paused: 'here' }, 'a.py', 'python'), /^Resume in a.py\|Pause in python/);
  assert.match(labels({ paused: 'language' }, 'a.py', 'python'), /^Resume in python\|Pause everywhere/);
  assert.match(labels({ paused: 'everywhere' }, 'a.py', 'python'), /^Resume everywhere\|Snooze\|/);
});

test('without an editor there is nothing to pause but everything', () => {
  assert.match(labels({}), /^Pause everywhere\|Snooze\|Why[^|]*\|Restart/);
});

test('a missing server can be installed', () => {
  assert.match(labels({ server: 'absent' }), /^Install the server\|Pause/);
  assert.match(
    labels({ server: 'absent', workspaceServer: '/w/infill-ls' }),
    /^Install the server\|Start the server of this workspace/,
  );
});

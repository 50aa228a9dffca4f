import assert from 'node:assert/strict';
import { test } from 'node:test';
import { far, hint, offerOf, preview } from '../src/nextedit';

const at = (line: number, character: number) => ({ line, character });

test('edits are of whole lines', () => {
  const replaced = offerOf({ text: '  b', range: { start: at(4, 0), end: at(4, 3) } });
  assert.deepEqual(replaced, { row: 4, endRow: 5, lines: ['  b'] });
  const inserted = offerOf({ text: 'b\r\n', range: { start: at(4, 0), end: at(4, 0) } });
  assert.deepEqual(inserted, { row: 4, endRow: 4, lines: ['b'] });
  const removed = offerOf({ text: '', range: { start: at(4, 0), end: at(6, 0) } });
  assert.deepEqual(removed, { row: 4, endRow: 6, lines: [] });
});

test('a key goes there first where it is far', () => {
  const offer = { row: 10, endRow: 12, lines: ['a'] };
  assert.deepEqual([6, 7, 15, 16].map((row) => far(offer, row)), [true, false, false, true]);
});

test('what is shown stands on one line', () => {
  assert.equal(preview({ row: 1, endRow: 2, lines: ['  a', '  b'] }), '  ⟶ a ⏎ b');
  assert.equal(preview({ row: 1, endRow: 2, lines: [] }), '  ⟵ remove');
  assert.equal(preview({ row: 1, endRow: 4, lines: [] }), '  ⟵ remove 3 lines');
  assert.equal(preview({ row: 1, endRow: 2, lines: ['x'.repeat(500)] }).length, 124);
  assert.match(hint({ row: 1, endRow: 2, lines: [] }), /line 2$/);
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Answer, answerFor } from '../src/consent';

const yes: Answer = { program: '/w/infill-ls', sha256: 'a', start: true };
const no: Answer = { ...yes, start: false };

const cases: [string, Answer | undefined, string, string, boolean | undefined][] = [
  ['nothing was said', undefined, '/w/infill-ls', 'a', undefined],
  ['a yes is remembered', yes, '/w/infill-ls', 'a', true],
  ['a yes is for the program as it was', yes, '/w/infill-ls', 'b', undefined],
  ['a yes is for one program', yes, '/w/other', 'a', undefined],
  ['a no is remembered', no, '/w/infill-ls', 'a', false],
  ['a no stays when the program changes', no, '/w/infill-ls', 'b', false],
  ['a no is for one program', no, '/w/other', 'a', undefined],
];
for (const [name, kept, program, sha256, expected] of cases) {
  test(name, () => assert.equal(answerFor(kept, program, sha256), expected));
}

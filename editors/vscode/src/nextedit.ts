// Where the next edit is, how it is shown, and what a key does about it. Knows no VS Code.

/** Whole lines [row, endRow) are better replaced by `lines`. */
export interface Offer {
  row: number;
  endRow: number;
  lines: string[];
}

export interface Edit {
  text: string;
  range: { start: { line: number; character: number }; end: { line: number; character: number } };
}

/** Lines from the cursor, beyond which a key goes there first. */
const FAR = 3;
const LONGEST = 120;

/** The server's edits are of whole lines; one that ends where a line begins leaves that line. */
export function offerOf({ text, range }: Edit): Offer {
  const lines = text.split(/\r\n|\r|\n/);
  let endRow = range.end.line;
  if (range.end.character > 0) {
    endRow += 1;
  } else if (lines.at(-1) === '') {
    lines.pop();
  }
  return { row: range.start.line, endRow: Math.max(endRow, range.start.line), lines };
}

export function far(offer: Offer, cursorRow: number): boolean {
  return cursorRow < offer.row - FAR || cursorRow > Math.max(offer.endRow, offer.row) + FAR;
}

/** One line for what comes in: VS Code's decorations have no line ends. */
export function preview({ lines, row, endRow }: Offer): string {
  if (lines.length === 0) {
    return endRow - row === 1 ? '  ⟵ remove' : `  ⟵ remove ${endRow - row} lines`;
  }
  const said = lines.map((line) => line.trim()).join(' ⏎ ');
  return '  ⟶ ' + (said.length > LONGEST ? `${said.slice(0, LONGEST - 1)}…` : said);
}

/** What stands beside the cursor while the place is out of sight. */
export function hint(offer: Offer): string {
  return `  Tab: next edit in line ${offer.row + 1}`;
}

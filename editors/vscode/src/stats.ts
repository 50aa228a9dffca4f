// What was taken of suggestions, in words: policy, without VS Code.

/** As the server counts them, over all languages. */
export interface Counts {
  characters: number;
  looked_at: number;
  kept: number;
}

/** For how long one can be left alone; 0 ends it. */
export const MINUTES = [5, 15, 60, 240, 0];

export function accepted(counts: Counts): string {
  if (counts.characters === 0) {
    return '';
  }
  const characters = `${counts.characters.toLocaleString('en')} characters accepted`;
  if (counts.looked_at === 0) {
    return characters;
  }
  const share = Math.round((100 * counts.kept) / counts.looked_at);
  return `${characters}, ${share} % of them still there after 30 s`;
}

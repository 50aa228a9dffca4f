// What the user said about the program of a workspace, as it is kept: policy, without VS Code.

export interface Answer {
  program: string;
  /** Of the program's content when it was said. */
  sha256: string;
  start: boolean;
}

/** A yes is for the program as it was; a no is for whatever comes in its place. */
export function answerFor(
  kept: Answer | undefined,
  program: string,
  sha256: string,
): boolean | undefined {
  if (kept?.program !== program) {
    return undefined;
  }
  return kept.start && kept.sha256 !== sha256 ? undefined : kept.start;
}

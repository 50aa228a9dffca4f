// What the status bar says, and what its menu offers, from what is known: policy, without VS Code.

export interface Facts {
  server: 'starting' | 'running' | 'installing' | 'absent' | 'failed';
  /** Why it is absent or failed. */
  reason: string;
  /** The program in the workspace that is not started; empty when there is none. */
  workspaceServer: string;
  /** What the server last said it is busy with; empty when it is not. */
  busy: string;
  /** What the server last said is wrong; empty when nothing is. */
  problem: string;
  /** What the server last said while it is neither: that it is snoozed, or holds something back. */
  note: string;
  /** How much was accepted so far, in words; empty before anything was. */
  accepted: string;
  paused: Paused | undefined;
}

export type Paused = 'here' | 'language' | 'everywhere';

export type State = 'loading' | 'ready' | 'held' | 'thinking' | 'paused' | 'error';

export const HELD_BACK = 'a suggestion is ready';

export interface Appearance {
  state: State;
  text: string;
  tooltip: string;
  /** The same with more than what is said aloud. */
  details: string;
}

const ICONS: Record<State, string> = {
  loading: '$(loading~spin)',
  ready: '$(sparkle)',
  held: '$(sparkle-filled)',
  thinking: '$(ellipsis)',
  paused: '$(debug-pause)',
  error: '$(error)',
};

const PAUSED: Record<Paused, string> = {
  here: 'paused in this file',
  language: 'paused in this language',
  everywhere: 'paused everywhere',
};

export function appearance(facts: Facts): Appearance {
  const [state, tooltip] = described(facts);
  const details = facts.accepted ? `infill: ${tooltip}\n${facts.accepted}` : `infill: ${tooltip}`;
  return { state, text: `${ICONS[state]} infill`, tooltip: `infill: ${tooltip}`, details };
}

function described(facts: Facts): [State, string] {
  if (facts.server === 'absent' || facts.server === 'failed') {
    return ['error', facts.reason];
  }
  if (facts.server === 'installing') {
    return ['loading', 'installing the server'];
  }
  if (facts.problem) {
    return ['error', facts.problem];
  }
  if (facts.paused) {
    return ['paused', PAUSED[facts.paused]];
  }
  if (facts.server === 'starting') {
    return ['loading', 'starting the server'];
  }
  if (facts.busy) {
    return [facts.busy === 'thinking' ? 'thinking' : 'loading', facts.busy];
  }
  if (facts.note) {
    return facts.note === HELD_BACK ? ['held', facts.note] : ['paused', facts.note];
  }
  return ['ready', 'ready'];
}

export interface Entry {
  label: string;
  command: string;
}

/** `language` and `file` name what the active editor shows; undefined without one. */
export function menu(facts: Facts, file: string | undefined, language: string | undefined): Entry[] {
  const entries: Entry[] = [];
  if (facts.server === 'absent') {
    entries.push({ label: '$(cloud-download) Install the server', command: 'infill.install' });
    if (facts.workspaceServer) {
      const label = '$(folder) Start the server of this workspace';
      entries.push({ label, command: 'infill.useWorkspaceServer' });
    }
  }
  if (facts.paused === 'everywhere') {
    entries.push({ label: '$(play) Resume everywhere', command: 'infill.toggleEverywhere' });
  } else {
    if (language !== undefined) {
      entries.push(
        facts.paused === 'language'
          ? { label: `$(play) Resume in ${language}`, command: 'infill.toggleLanguage' }
          : { label: `$(debug-pause) Pause in ${language}`, command: 'infill.toggleLanguage' },
      );
    }
    if (file !== undefined && facts.paused !== 'language') {
      entries.unshift(
        facts.paused === 'here'
          ? { label: `$(play) Resume in ${file}`, command: 'infill.toggleHere' }
          : { label: `$(debug-pause) Pause in ${file}`, command: 'infill.toggleHere' },
      );
    }
    entries.push({ label: '$(debug-pause) Pause everywhere', command: 'infill.toggleEverywhere' });
  }
  if (facts.server === 'running') {
    entries.push(
      { label: '$(bell-slash) Snooze', command: 'infill.snoozeFor' },
      { label: '$(question) Why is this shown here, or nothing?', command: 'infill.explainHere' },
    );
  }
  entries.push(
    { label: '$(debug-restart) Restart the server', command: 'infill.restart' },
    { label: '$(output) Show the log', command: 'infill.showLog' },
    { label: '$(pulse) Doctor: what runs here, and how fast', command: 'infill.doctor' },
    { label: '$(gear) Settings', command: 'infill.openSettings' },
  );
  return entries;
}

// Where the server is, and whether it may be started: policy, without VS Code and without touching
// the disk itself.

export interface Places {
  /** The setting infill-ls.path; empty when it is not set. */
  configured: string;
  /** Folders of PATH. */
  path: readonly string[];
  /** The environment that the extension installs into. */
  managed: string;
  /** Folders of the workspace. */
  folders: readonly string[];
  home: string;
}

/** What the user said about starting the program of a workspace. */
export interface Consent {
  /** Whether VS Code's user trusts the workspace. */
  trusted: boolean;
  /** The answer for this program as it is now; undefined when there is none. */
  answer(program: string): boolean | undefined;
}

export type Found =
  /** `where` is for the log: "from ...". */
  | { kind: 'found'; command: string; where: string }
  /** `workspaceServer` is the program of the workspace that may not be started; `ask` when only
   * because nobody was asked yet. */
  | { kind: 'absent'; reason: string; workspaceServer?: string; ask?: boolean };

export interface Disk {
  windows: boolean;
  join(...parts: string[]): string;
  dirname(path: string): string;
  absolute(path: string): boolean;
  /** Without symbolic links; the path itself where there is no such file. */
  real(path: string): string;
  executable(path: string): boolean;
}

const ENVIRONMENTS = ['.venv', 'venv'];

/** The program within a virtual environment. */
export function within(environment: string, disk: Disk): string {
  return disk.windows
    ? disk.join(environment, 'Scripts', 'infill-ls.exe')
    : disk.join(environment, 'bin', 'infill-ls');
}

/** The user's own server first. One that came with the workspace is somebody else's program: it is
 * taken only where there is no other, and with the user's consent. */
export function findServer(places: Places, consent: Consent, disk: Disk): Found {
  if (places.configured) {
    return configured(places.configured, disk);
  }
  const name = disk.windows ? 'infill-ls.exe' : 'infill-ls';
  // A relative part of PATH means another folder wherever one works.
  const onPath = places.path
    .filter((folder) => disk.absolute(folder))
    .map((folder) => disk.join(folder, name))
    .filter((program) => disk.executable(program));
  const own = onPath.find((program) => !comesWith(program, places, disk));
  if (own !== undefined) {
    return { kind: 'found', command: own, where: 'PATH' };
  }
  // Where uv and pipx put programs; an editor that no shell started may not have it on PATH.
  const users = disk.join(places.home, '.local', 'bin', name);
  if (disk.executable(users) && !comesWith(users, places, disk)) {
    return { kind: 'found', command: users, where: '~/.local/bin' };
  }
  const managed = within(places.managed, disk);
  if (disk.executable(managed)) {
    return { kind: 'found', command: managed, where: 'its own environment' };
  }
  const environments = places.folders.flatMap((folder) =>
    ENVIRONMENTS.map((environment) => within(disk.join(folder, environment), disk)),
  );
  const fromWorkspace = [...onPath, ...environments].find((program) => disk.executable(program));
  return fromWorkspace === undefined
    ? { kind: 'absent', reason: 'infill-ls is not installed' }
    : withConsent(fromWorkspace, consent);
}

function configured(program: string, disk: Disk): Found {
  const problem = !disk.absolute(program)
    ? 'which is not an absolute path'
    : !disk.executable(program)
      ? 'which is not a program'
      : undefined;
  return problem === undefined
    ? { kind: 'found', command: program, where: 'the setting infill-ls.path' }
    : { kind: 'absent', reason: `infill-ls.path is ${program}, ${problem}` };
}

function withConsent(program: string, consent: Consent): Found {
  const here = { kind: 'absent', workspaceServer: program } as const;
  if (!consent.trusted) {
    const reason =
      'infill-ls is not installed; the one in this workspace is not started until you trust the ' +
      'workspace';
    return { ...here, reason };
  }
  switch (consent.answer(program)) {
    case true:
      return { kind: 'found', command: program, where: 'the workspace' };
    case false:
      return { ...here, reason: 'infill-ls is not installed; the one in this workspace is refused' };
    case undefined:
      return {
        ...here,
        reason: 'infill-ls is not installed; the one in this workspace waits for your answer',
        ask: true,
      };
  }
}

/** Whether a program lies in a folder of the workspace, however it came to be on PATH. Whoever opens
 * their home folder, or one above it, opens what is theirs. */
function comesWith(program: string, places: Places, disk: Disk): boolean {
  const folder = disk.real(disk.dirname(program));
  const home = disk.real(places.home);
  return places.folders
    .map((each) => disk.real(each))
    .some((each) => holds(each, folder, disk) && !holds(each, home, disk));
}

function holds(folder: string, path: string, disk: Disk): boolean {
  for (let each = path; ; each = disk.dirname(each)) {
    if (each === folder) {
      return true;
    }
    if (each === disk.dirname(each)) {
      return false;
    }
  }
}

/** The settings of a manifest that say which model runs and how: a workspace may not set them. */
export function modelSettings(manifest: Manifest): string[] {
  return manifest.contributes.configuration
    .flatMap((page) => Object.entries(page.properties))
    .filter(([name, { scope }]) => name.startsWith('infill.') && scope === 'machine')
    .map(([name]) => name.slice('infill.'.length));
}

/** The part of package.json that is read here. */
export interface Manifest {
  contributes: { configuration: { properties: Record<string, { scope?: string }> }[] };
}

/** The settings of those names as options of the command line, where each has the same name.
 *
 * The server reads the settings too. But one that is shared is found by its command line, so that
 * windows with different models get one each; and the doctor reads nothing else. */
export function modelOptions(names: string[], setting: (name: string) => unknown): string[] {
  const given: string[] = [];
  for (const name of names) {
    const value = setting(name);
    const option = `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
    if (value === true) {
      given.push(option);
    } else if (typeof value === 'number' || (typeof value === 'string' && value !== '')) {
      given.push(option, String(value));
    }
  }
  return given;
}

// Where the server is: policy, without VS Code and without touching the disk itself.

export interface Places {
  /** The setting infill-ls.path; empty when it is not set. */
  configured: string;
  /** Folders of the workspace, none while it is not trusted: what stands in them would be run. */
  folders: readonly string[];
  /** Folders of PATH. */
  path: readonly string[];
  /** The environment that the extension installs into. */
  managed: string;
}

export interface Found {
  command: string;
  /** For the log: "found in ...". */
  where: string;
}

export interface Disk {
  windows: boolean;
  join(...parts: string[]): string;
  executable(path: string): boolean;
}

const ENVIRONMENTS = ['.venv', 'venv'];

/** The program within a virtual environment. */
export function within(environment: string, disk: Disk): string {
  return disk.windows
    ? disk.join(environment, 'Scripts', 'infill-ls.exe')
    : disk.join(environment, 'bin', 'infill-ls');
}

/** The server, or why there is none. A configured path that is wrong is said, not passed over. */
export function findServer(places: Places, disk: Disk): Found | string {
  if (places.configured) {
    return disk.executable(places.configured)
      ? { command: places.configured, where: 'the setting infill-ls.path' }
      : `infill-ls.path is ${places.configured}, which is not a program`;
  }
  for (const folder of places.folders) {
    for (const name of ENVIRONMENTS) {
      const command = within(disk.join(folder, name), disk);
      if (disk.executable(command)) {
        return { command, where: `the workspace's ${name}` };
      }
    }
  }
  for (const folder of places.path) {
    const command = disk.join(folder, disk.windows ? 'infill-ls.exe' : 'infill-ls');
    if (folder && disk.executable(command)) {
      return { command, where: 'PATH' };
    }
  }
  const own = within(places.managed, disk);
  if (disk.executable(own)) {
    return { command: own, where: 'its own environment' };
  }
  return 'infill-ls is not installed';
}

/** What `infill-ls doctor` must be told so that it looks at the model the editor uses. */
export function doctorArguments(settings: (name: string) => unknown): string[] {
  const given = ['doctor'];
  const flags = {
    model: '--model',
    device: '--device',
    dtype: '--dtype',
    threads: '--threads',
    remoteKeyEnv: '--remote-key-env',
  };
  for (const [name, flag] of Object.entries(flags)) {
    const value = settings(name);
    if (value !== null && value !== undefined && value !== '') {
      given.push(flag, String(value));
    }
  }
  return given;
}

// Installing the server into an environment of its own: which commands, in which order.

export interface Step {
  title: string;
  command: string;
  args: string[];
}

// The versions of Python the server runs on; venv, because Debian leaves it out of its Python.
export const PROBE =
  'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info < (3, 15))';

/** Interpreters to try, in order. A configured one stands alone: the user chose it. */
export function pythons(configured: string, windows: boolean): [string, ...string[]][] {
  if (configured) {
    return [[configured]];
  }
  const names = ['python3', 'python3.13', 'python3.12', 'python3.11', 'python3.14', 'python'];
  return windows
    ? [['py', '-3'], ['python'], ['python3']]
    : names.map((name): [string] => [name]);
}

export const NO_PYTHON =
  'Neither uv nor Python 3.11 to 3.14 with its venv module was found. Install one of them, or name ' +
  'a Python in the setting infill-ls.python.';

/** Where uv may be, in order: an editor that no shell started may not have its folder on PATH. */
export function uvs(home: string, windows: boolean): string[] {
  const separator = windows ? '\\' : '/';
  const names = windows ? 'uv.exe' : 'uv';
  return ['uv', [home, '.local', 'bin', names].join(separator)];
}

/** With uv, which needs no Python to be there: it fetches one where none fits. */
export function uvSteps(
  uv: string,
  python: string,
  environment: string,
  package_: string,
  inside: string,
): Step[] {
  return [
    {
      title: 'making an environment',
      command: uv,
      args: ['venv', '--clear', '--no-project', '--python', python || '>=3.11,<3.15', environment],
    },
    {
      title: 'installing the server',
      command: uv,
      args: ['pip', 'install', '--python', inside, package_],
    },
  ];
}

export function steps(
  python: readonly [string, ...string[]],
  environment: string,
  package_: string,
  inside: string,
): Step[] {
  const [command, ...before] = python;
  return [
    {
      title: 'making an environment',
      command,
      args: [...before, '-m', 'venv', '--clear', environment],
    },
    {
      title: 'installing the server',
      command: inside,
      args: ['-m', 'pip', 'install', '--disable-pip-version-check', '--no-input', package_],
    },
  ];
}

/** The line of pip's or uv's that says what it is at, short enough for a notification. */
export function progressOf(output: string): string | undefined {
  const lines = output.split(/[\r\n]+/).map((line) => line.trim());
  const telling = lines.filter((line) => /^(Collecting|Downloading|Installing|Building|Resolved|Prepared|Installed)/.test(line));
  const last = telling.at(-1);
  return last === undefined || last.length <= 60 ? last : `${last.slice(0, 57)}...`;
}

/** The line of a failed command's errors that says most: pip's or uv's own, else the last. */
export function reasonOf(errors: string): string {
  const lines = errors.split(/[\r\n]+/).map((line) => line.trim()).filter(Boolean);
  return lines.findLast((line) => /^(ERROR|error):/.test(line)) ?? lines.at(-1) ?? 'it said nothing';
}

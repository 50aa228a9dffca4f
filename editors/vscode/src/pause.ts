// Where suggestions are paused: policy, without VS Code. Everywhere and by language are settings of
// the server, which decides; only single files are remembered by the extension.
import type { Paused } from './status';

export interface Settings {
  enable: boolean;
  disabledLanguages: readonly string[];
}

export function pausedIn(
  settings: Settings,
  files: readonly string[],
  file: string | undefined,
  language: string | undefined,
): Paused | undefined {
  if (!settings.enable) {
    return 'everywhere';
  }
  if (language !== undefined && settings.disabledLanguages.includes(language)) {
    return 'language';
  }
  return file !== undefined && files.includes(file) ? 'here' : undefined;
}

/** The list with the name, or without it if it was there. */
export function toggled(list: readonly string[], name: string): string[] {
  return list.includes(name) ? list.filter((each) => each !== name) : [...list, name];
}

// Files that were paused once and never resumed must not pile up for ever.
const MOST_FILES = 200;

export function toggledFile(files: readonly string[], file: string): string[] {
  return toggled(files, file).slice(-MOST_FILES);
}

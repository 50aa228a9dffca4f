// Carries out what install.ts says, with progress and a way to stop it.
import { spawn } from 'node:child_process';
import * as fs from 'node:fs/promises';
import { homedir } from 'node:os';
import * as path from 'node:path';
import * as vscode from 'vscode';
import {
  NO_PYTHON,
  PROBE,
  progressOf,
  pythons,
  reasonOf,
  type Step,
  steps,
  uvs,
  uvSteps,
} from './install';

export interface Output {
  code: number | null;
  out: string;
  errors: string;
}

interface RunOptions {
  /** Not the folder of a workspace: Python would import from there, Windows run programs from it. */
  cwd: string;
  output?: (text: string) => void;
  signal?: AbortSignal;
}

/** Runs a program to its end; one that cannot be started ends with null and the reason. */
export function run(command: string, args: string[], options: RunOptions): Promise<Output> {
  return new Promise((resolve) => {
    const output: Output = { code: null, out: '', errors: '' };
    const { cwd, signal } = options;
    const child = spawn(command, args, {
      stdio: ['ignore', 'pipe', 'pipe'],
      windowsHide: true,
      cwd,
      ...(signal && { signal }),
    });
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      output.out += text;
      options.output?.(text);
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      output.errors += text;
      options.output?.(text);
    });
    const end = (code: number | null, errors = ''): void =>
      resolve({ ...output, code, errors: output.errors + errors });
    child.on('error', (error) => end(null, error.message));
    child.on('close', (code) => end(code));
  });
}

export interface Installation {
  environment: string;
  python: string;
  package: string;
  windows: boolean;
  log: vscode.LogOutputChannel;
  /** Aborted by the user, or when the editor closes. */
  stop: AbortController;
}

/** By uv where it is there, else by the first Python that fits; undefined where there is neither. */
async function chosenSteps(
  wanted: Installation,
  inside: string,
  cwd: string,
  signal: AbortSignal,
): Promise<Step[] | undefined> {
  for (const uv of uvs(homedir(), wanted.windows)) {
    if ((await run(uv, ['--version'], { cwd, signal })).code === 0) {
      return uvSteps(uv, wanted.python, wanted.environment, wanted.package, inside);
    }
  }
  for (const [command, ...before] of pythons(wanted.python, wanted.windows)) {
    if ((await run(command, [...before, '-c', PROBE], { cwd, signal })).code === 0) {
      return steps([command, ...before], wanted.environment, wanted.package, inside);
    }
  }
  return undefined;
}

/** Undefined when the server is there, else why not. */
export function installServer(wanted: Installation): Thenable<string | undefined> {
  return vscode.window.withProgress(
    { location: vscode.ProgressLocation.Notification, title: 'infill', cancellable: true },
    async (progress, cancelled) => {
      cancelled.onCancellationRequested(() => wanted.stop.abort());
      const { signal } = wanted.stop;
      const cwd = path.dirname(wanted.environment);
      await fs.mkdir(cwd, { recursive: true });
      progress.report({ message: 'looking for uv and Python' });
      const inside = wanted.windows
        ? path.join(wanted.environment, 'Scripts', 'python.exe')
        : path.join(wanted.environment, 'bin', 'python');
      const todo = await chosenSteps(wanted, inside, cwd, signal);
      if (todo === undefined) {
        return NO_PYTHON;
      }
      for (const step of todo) {
        progress.report({ message: step.title });
        wanted.log.info(`${step.command} ${step.args.join(' ')}`);
        const done = await run(step.command, step.args, {
          cwd,
          signal,
          output: (text) => {
            wanted.log.debug(text.trimEnd());
            const message = progressOf(text);
            if (message !== undefined) {
              progress.report({ message });
            }
          },
        });
        if (signal.aborted) {
          await fs.rm(wanted.environment, { recursive: true, force: true });
          return 'It was stopped.';
        }
        if (done.code !== 0) {
          wanted.log.error(done.errors);
          return reasonOf(done.errors);
        }
      }
      return undefined;
    },
  );
}

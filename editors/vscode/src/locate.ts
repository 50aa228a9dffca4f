// The server of this window: what find.ts decides, with VS Code's settings, folders and memory.
import { createHash } from 'node:crypto';
import * as fs from 'node:fs';
import { homedir } from 'node:os';
import * as path from 'node:path';
import * as vscode from 'vscode';
import { type Answer, answerFor } from './consent';
import { type Consent, type Disk, findServer, type Found } from './find';

const WORKSPACE_SERVER = 'workspaceServer';

const disk: Disk = {
  windows: process.platform === 'win32',
  join: path.join,
  dirname: path.dirname,
  absolute: path.isAbsolute,
  real(file) {
    try {
      return fs.realpathSync.native(file);
    } catch {
      return path.normalize(file);
    }
  },
  executable(file) {
    try {
      fs.accessSync(file, fs.constants.X_OK);
      return fs.statSync(file).isFile();
    } catch {
      return false;
    }
  },
};

/** A setting of the section infill-ls; empty when it is not set. */
export function setting(name: string): string {
  return vscode.workspace.getConfiguration('infill-ls').get<string>(name) ?? '';
}

export class Locator {
  /** The environment that the extension installs into. */
  readonly environment: string;
  /** Where programs are started. Not in the workspace: `python -m` would import from it, and a
   * model's name would be looked for there as a folder. */
  readonly cwd: string;

  constructor(private readonly context: vscode.ExtensionContext) {
    this.environment = path.join(context.globalStorageUri.fsPath, 'server');
    this.cwd = fs.existsSync(homedir()) ? homedir() : path.parse(this.environment).root;
  }

  find(): Found {
    return this.findWith({
      trusted: vscode.workspace.isTrusted,
      answer: (program) => answerFor(this.kept(), program, sha256(program)),
    });
  }

  /** The workspace's server where no other comes before it, whatever was said about it. */
  workspaceServer(): string | undefined {
    const found = this.findWith({ trusted: true, answer: () => undefined });
    return found.kind === 'absent' ? found.workspaceServer : undefined;
  }

  /** Asks whether to start that program, and keeps a yes or a no. */
  async ask(program: string): Promise<'answered' | 'install' | undefined> {
    const asked = sha256(program); // what may be changed while the question waits is not meant
    const picked = await vscode.window.showWarningMessage(
      `infill: the only infill-ls here came with this workspace: ${program}. Start that program?`,
      'Start It',
      'Install My Own',
      'Never',
    );
    if (picked === 'Install My Own') {
      return 'install';
    }
    if (picked === undefined) {
      return undefined;
    }
    const answer: Answer = { program, sha256: asked, start: picked === 'Start It' };
    await this.context.workspaceState.update(WORKSPACE_SERVER, answer);
    return 'answered';
  }

  private kept(): Answer | undefined {
    return this.context.workspaceState.get<Answer>(WORKSPACE_SERVER);
  }

  private findWith(consent: Consent): Found {
    const folders = (vscode.workspace.workspaceFolders ?? [])
      .filter((folder) => folder.uri.scheme === 'file')
      .map((folder) => folder.uri.fsPath);
    const places = {
      configured: setting('path'),
      path: (process.env['PATH'] ?? '').split(path.delimiter),
      managed: this.environment,
      folders,
      home: homedir(),
    };
    return findServer(places, consent, disk);
  }
}

/** Of a program's content; empty when it cannot be read. */
function sha256(program: string): string {
  try {
    return createHash('sha256').update(fs.readFileSync(program)).digest('hex');
  } catch {
    return '';
  }
}

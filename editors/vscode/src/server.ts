// One running server at a time, and its language client. A crash is not the end of it: it is started
// again after a while, with a new client, which sends every open document anew.
import { type ChildProcess, spawn } from 'node:child_process';
import * as vscode from 'vscode';
import {
  CloseAction,
  ErrorAction,
  ExecuteCommandRequest,
  LanguageClient,
  type LanguageClientOptions,
} from 'vscode-languageclient/node';
import { Backoff } from './backoff';
import type { Facts } from './status';

// In every language; the server knows in which it suggests. Other schemes are views, not sources.
const DOCUMENTS = ['file', 'untitled', 'vscode-vfs', 'vscode-notebook-cell'].map((scheme) => ({
  scheme,
}));

interface Status {
  busy: boolean;
  kind: string;
  message: string;
}

export interface Surroundings {
  log: vscode.LogOutputChannel;
  version: string;
  changed(facts: Partial<Facts>): void;
  pausedHere(document: vscode.TextDocument): boolean;
}

/** Its own messages about a server that does not start or has died would come beside ours. */
class QuietClient extends LanguageClient {
  override error(message: string, data?: unknown): void {
    super.error(message, data, false);
  }
}

export class Server {
  private client: LanguageClient | undefined;
  private readonly backoff = new Backoff();
  private again: NodeJS.Timeout | undefined;
  private lastWords = '';

  constructor(private readonly around: Surroundings) {}

  async start(command: string): Promise<void> {
    this.backoff.reset();
    await this.launch(command);
  }

  /** For good: nothing that was planned comes after it. */
  async stop(): Promise<void> {
    clearTimeout(this.again);
    const client = this.client;
    this.client = undefined;
    if (client?.needsStop()) {
      await client.stop().catch((error: unknown) => this.around.log.warn(String(error)));
    }
  }

  /** Has the server infill the selection, or at the cursor; it edits through applyEdit. */
  async infill(editor: vscode.TextEditor | undefined): Promise<void> {
    const client = this.client;
    if (editor === undefined) {
      return;
    }
    if (!client?.isRunning()) {
      void vscode.window.showWarningMessage('infill: the server does not run; see the status bar.');
      return;
    }
    const { document, selection } = editor;
    const about = {
      uri: client.code2ProtocolConverter.asUri(document.uri),
      version: document.version,
      range: client.code2ProtocolConverter.asRange(selection),
    };
    const name = selection.isEmpty ? 'infill.infillAtCursor' : 'infill.infillSelection';
    await vscode.window.withProgress({ location: vscode.ProgressLocation.Window, title: 'infill' }, () =>
      client.sendRequest(ExecuteCommandRequest.type, { command: name, arguments: [about] }),
    );
  }

  private async launch(command: string): Promise<void> {
    // Busy until the server says it is not: it answers before it has begun to load.
    this.around.changed({ server: 'starting', busy: 'loading the model', problem: '' });
    this.backoff.started(Date.now());
    const client = new QuietClient(
      'infill-ls',
      'infill',
      () => Promise.resolve(this.spawn(command)),
      this.options(() => this.died(client, command)),
    );
    this.client = client;
    client.onNotification('didChangeStatus', ({ busy, kind, message }: Status) => {
      this.around.changed({
        busy: busy ? message : '',
        problem: kind === 'Error' ? message : '',
      });
    });
    try {
      await client.start();
      if (this.client === client) {
        this.around.changed({ server: 'running' });
      }
    } catch (error) {
      this.lastWords ||= String(error);
      this.died(client, command);
    }
  }

  private spawn(command: string): ChildProcess {
    const cwd = vscode.workspace.workspaceFolders?.find(({ uri }) => uri.scheme === 'file')?.uri.fsPath;
    this.lastWords = '';
    const child = spawn(command, ['--stdio'], { ...(cwd && { cwd }), windowsHide: true });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      this.lastWords = text.trim().split('\n').at(-1) ?? '';
    });
    child.on('error', (error) => (this.lastWords = error.message));
    return child;
  }

  private options(closed: () => void): LanguageClientOptions {
    return {
      documentSelector: DOCUMENTS,
      outputChannel: this.around.log,
      // By this the server knows that status notifications are read here.
      initializationOptions: {
        editorPluginInfo: { name: 'infill-ls-vscode', version: this.around.version },
      },
      initializationFailedHandler: () => false,
      errorHandler: {
        error: () => ({ action: ErrorAction.Continue, handled: true }),
        closed: () => {
          closed();
          return { action: CloseAction.DoNotRestart, handled: true };
        },
      },
      middleware: {
        provideInlineCompletionItems: (document, position, context, token, next) =>
          this.around.pausedHere(document) ? undefined : next(document, position, context, token),
      },
    };
  }

  /** Called by whoever notices first: the closed stream or the failed start. */
  private died(client: LanguageClient, command: string): void {
    if (this.client !== client) {
      return;
    }
    this.client = undefined;
    const { wait, tell } = this.backoff.died(Date.now());
    const reason = `the server ended${this.lastWords && `: ${this.lastWords}`}`;
    this.around.log.error(`${reason}; ${wait === undefined ? 'it stays down' : `again in ${wait} ms`}`);
    if (wait === undefined) {
      this.around.changed({ server: 'failed', reason });
    } else {
      this.around.changed({ server: 'starting', busy: '', problem: '' });
      this.again = setTimeout(() => void this.launch(command), wait);
    }
    if (tell) {
      const message = 'infill: the server ended unexpectedly and is being started again.';
      void vscode.window.showWarningMessage(message, 'Show Log').then((answer) => {
        if (answer !== undefined) {
          this.around.log.show();
        }
      });
    }
  }
}

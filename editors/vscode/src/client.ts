// The language client: what it announces, which documents it tells of, and what it asks for.
import type { ChildProcessWithoutNullStreams } from 'node:child_process';
import * as vscode from 'vscode';
import {
  CloseAction,
  ErrorAction,
  ExecuteCommandRequest,
  LanguageClient,
  type LanguageClientOptions,
} from 'vscode-languageclient/node';
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

export interface ClientHost {
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

/** A client for a server's process. Ending the process is the caller's: of one that a client is
 * given it does not do so itself. */
export function clientOf(
  child: ChildProcessWithoutNullStreams,
  closed: () => void,
  host: ClientHost,
): LanguageClient {
  const options: LanguageClientOptions = {
    documentSelector: DOCUMENTS,
    outputChannel: host.log,
    // By this the server knows that status notifications are read here.
    initializationOptions: {
      editorPluginInfo: { name: 'infill-ls-vscode', version: host.version },
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
        host.pausedHere(document) ? undefined : next(document, position, context, token),
    },
  };
  const client = new QuietClient('infill-ls', 'infill', () => Promise.resolve(child), options);
  client.onNotification('didChangeStatus', ({ busy, kind, message }: Status) => {
    host.changed({ busy: busy ? message : '', problem: kind === 'Error' ? message : '' });
  });
  return client;
}

/** Has the server infill the selection, or at the cursor; it edits through applyEdit. */
export async function infill(
  client: LanguageClient | undefined,
  editor: vscode.TextEditor | undefined,
): Promise<void> {
  const name = editor?.selection.isEmpty ? 'infill.infillAtCursor' : 'infill.infillSelection';
  await execute(client, editor, name, (to, { selection }) => ({ range: to.asRange(selection) }));
}

/** Has the server fill all that is marked in the document; with selections, those. */
export async function infillHoles(
  client: LanguageClient | undefined,
  editor: vscode.TextEditor | undefined,
): Promise<void> {
  await execute(client, editor, 'infill.infillHoles', (to, { selections }) => ({
    ranges: selections.filter((each) => !each.isEmpty).map((each) => to.asRange(each)),
  }));
}

async function execute(
  client: LanguageClient | undefined,
  editor: vscode.TextEditor | undefined,
  command: string,
  where: (to: LanguageClient['code2ProtocolConverter'], editor: vscode.TextEditor) => object,
): Promise<void> {
  if (editor === undefined) {
    return;
  }
  if (client === undefined) {
    void vscode.window.showWarningMessage('infill: the server does not run; see the status bar.');
    return;
  }
  const about = {
    uri: client.code2ProtocolConverter.asUri(editor.document.uri),
    version: editor.document.version,
    ...where(client.code2ProtocolConverter, editor),
  };
  await vscode.window.withProgress({ location: vscode.ProgressLocation.Window, title: 'infill' }, () =>
    client.sendRequest(ExecuteCommandRequest.type, { command, arguments: [about] }),
  );
}

// VS Code's own command stops at the first line end, and a text that begins with one loses only it.
const MOST_BLANK_LINES = 20;

/** Accepts the next line of ghost text that holds anything, with the blank ones before it. */
export async function acceptLine(editor: vscode.TextEditor | undefined): Promise<void> {
  for (let blank = 0; editor !== undefined && blank < MOST_BLANK_LINES; blank++) {
    const before = editor.selection.active;
    await vscode.commands.executeCommand('editor.action.inlineSuggest.acceptNextLine');
    const accepted = editor.document.getText(new vscode.Range(before, editor.selection.active));
    if (accepted === '' || accepted.trim() !== '') {
      return;
    }
  }
}

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
  answered(document: vscode.TextDocument, items: vscode.InlineCompletionItem[]): void;
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
      provideInlineCompletionItems: async (document, position, context, token, next) => {
        if (host.pausedHere(document)) {
          return undefined;
        }
        const answer = await next(document, position, context, token);
        const items = Array.isArray(answer) ? answer : (answer?.items ?? []);
        if (items.length > 0) {
          host.answered(document, items);
        }
        return answer;
      },
    },
  };
  const client = new QuietClient('infill-ls', 'infill', () => Promise.resolve(child), options);
  client.onNotification('didChangeStatus', ({ busy, kind, message }: Status) => {
    const problem = kind === 'Error';
    host.changed({
      busy: busy ? message : '',
      problem: problem ? message : '',
      note: busy || problem ? '' : message,
    });
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

export type Unit = 'word' | 'line';

/** Has the server put in the next words or lines of what it suggests at the cursor, and the cursor
 * behind them. */
export async function acceptPart(
  client: LanguageClient | undefined,
  editor: vscode.TextEditor,
  unit: Unit,
  count: number,
): Promise<void> {
  const { document, selection } = editor;
  const [start, length] = [document.offsetAt(selection.active), document.getText().length];
  await execute(client, editor, 'infill.accept', (to) => ({
    position: to.asPosition(selection.active),
    unit,
    count,
  }));
  const end = document.positionAt(start + document.getText().length - length);
  editor.selection = new vscode.Selection(end, end);
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

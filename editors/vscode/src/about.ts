// What there is to say about suggestions: why, when not, and how many were taken. The server knows.
import * as vscode from 'vscode';
import { ExecuteCommandRequest, type LanguageClient } from 'vscode-languageclient/node';
import { type Counts, MINUTES, accepted } from './stats';

const SCHEME = 'infill-explain';

export class About implements vscode.Disposable, vscode.TextDocumentContentProvider {
  private readonly changed = new vscode.EventEmitter<vscode.Uri>();
  private readonly registration: vscode.Disposable;
  private readonly page = vscode.Uri.from({ scheme: SCHEME, path: '/Why.md' });
  private markdown = '';
  readonly onDidChange = this.changed.event;

  constructor(private readonly client: () => LanguageClient | undefined) {
    this.registration = vscode.workspace.registerTextDocumentContentProvider(SCHEME, this);
  }

  provideTextDocumentContent(): string {
    return this.markdown;
  }

  /** Opens a page beside that nobody can write to and that is in no file. */
  async explain(editor: vscode.TextEditor | undefined): Promise<void> {
    const client = this.client();
    if (editor === undefined || client === undefined) {
      void vscode.window.showWarningMessage('infill: the server does not run; see the status bar.');
      return;
    }
    const about = {
      uri: client.code2ProtocolConverter.asUri(editor.document.uri),
      position: client.code2ProtocolConverter.asPosition(editor.selection.active),
    };
    const found = await this.ask<{ markdown: string }>('infill.explain', about);
    if (found === undefined) {
      return;
    }
    this.markdown = found.markdown;
    this.changed.fire(this.page);
    const document = await vscode.workspace.openTextDocument(this.page);
    await vscode.window.showTextDocument(document, {
      viewColumn: vscode.ViewColumn.Beside,
      preview: true,
    });
  }

  async snooze(given: unknown): Promise<void> {
    const minutes = typeof given === 'number' ? given : await this.minutes();
    if (minutes !== undefined) {
      await this.ask('infill.snooze', { minutes });
    }
  }

  /** The server says that it did. */
  async forget(): Promise<void> {
    await this.ask('infill.resetLearned');
  }

  /** What was taken so far, as a sentence; "" where nothing was. */
  async stats(): Promise<string> {
    const found = await this.ask<{ all: Counts }>('infill.stats');
    return found === undefined ? '' : accepted(found.all);
  }

  private async minutes(): Promise<number | undefined> {
    const choices = MINUTES.map((minutes) => ({
      label: minutes === 0 ? 'Wake up' : `${minutes} minutes`,
      minutes,
    }));
    const title = 'infill: suggest nothing by itself for';
    return (await vscode.window.showQuickPick(choices, { title }))?.minutes;
  }

  private async ask<T>(command: string, argument?: object): Promise<T | undefined> {
    const given = { command, arguments: argument === undefined ? [] : [argument] };
    return (await this.client()?.sendRequest(ExecuteCommandRequest.type, given)) as T | undefined;
  }

  dispose(): void {
    this.registration.dispose();
    this.changed.dispose();
  }
}

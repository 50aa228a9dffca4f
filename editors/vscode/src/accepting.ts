// Taking a part of a suggestion: VS Code's own commands do it, and the server is told what was taken.
import * as vscode from 'vscode';
import type { LanguageClient } from 'vscode-languageclient/node';

// VS Code's own command stops at the first line end, and a text that begins with one loses only it.
const MOST_BLANK_LINES = 20;

export class Accepting {
  /** What was answered last, for which document. */
  private last: { uri: string; items: vscode.InlineCompletionItem[] } | undefined;

  constructor(private readonly client: () => LanguageClient | undefined) {}

  answered(document: vscode.TextDocument, items: vscode.InlineCompletionItem[]): void {
    this.last = { uri: document.uri.toString(), items };
  }

  word(editor: vscode.TextEditor | undefined): Promise<void> {
    return this.take(editor, 'editor.action.inlineSuggest.acceptNextWord');
  }

  /** The next lines that hold anything, with the blank ones before them. */
  async lines(editor: vscode.TextEditor | undefined, count: number): Promise<void> {
    if (editor === undefined) {
      return;
    }
    const start = editor.selection.active;
    for (let taken = 0, blank = 0; taken < count && blank < MOST_BLANK_LINES; ) {
      const before = editor.selection.active;
      await vscode.commands.executeCommand('editor.action.inlineSuggest.acceptNextLine');
      const accepted = editor.document.getText(new vscode.Range(before, editor.selection.active));
      if (accepted === '') {
        break;
      }
      if (accepted.trim() === '') {
        blank++;
      } else {
        taken++;
      }
    }
    await this.report(editor, start);
  }

  private async take(editor: vscode.TextEditor | undefined, command: string): Promise<void> {
    const start = editor?.selection.active;
    await vscode.commands.executeCommand(command);
    if (editor !== undefined && start !== undefined) {
      await this.report(editor, start);
    }
  }

  /** Says what was put in since the cursor was there; of an item that says so, if it is ours. */
  private async report(editor: vscode.TextEditor, start: vscode.Position): Promise<void> {
    const { document, selection } = editor;
    const uri = document.uri.toString();
    for (const item of this.last?.uri === uri ? this.last.items : []) {
      const from = item.range?.start;
      if (from === undefined || from.isAfter(start) || typeof item.insertText !== 'string') {
        continue;
      }
      const typed = document.getText(new vscode.Range(from, start));
      const taken = document.getText(new vscode.Range(from, selection.active));
      if (taken.length > typed.length && item.insertText.startsWith(taken)) {
        await this.client()?.sendNotification('textDocument/didPartiallyAcceptCompletion', {
          item: { command: item.command },
          acceptedLength: taken.length,
          typedLength: typed.length,
        });
        return;
      }
    }
  }
}

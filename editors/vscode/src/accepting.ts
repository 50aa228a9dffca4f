// Taking a part of a suggestion: VS Code's own commands do it, and the server is told what was
// taken. VS Code takes ghost text away while the keys go elsewhere, for instance into the command
// palette; then the server puts it in, which knows what it suggested at the cursor.
import * as vscode from 'vscode';
import type { LanguageClient } from 'vscode-languageclient/node';
import { acceptPart, type Unit } from './client';

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
    return this.take(editor, 'word', 1, async () => {
      await vscode.commands.executeCommand('editor.action.inlineSuggest.acceptNextWord');
    });
  }

  /** The next lines that hold anything, with the blank ones before them. */
  lines(given: vscode.TextEditor | undefined, count: number): Promise<void> {
    return this.take(given, 'line', count, async (editor) => {
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
    });
  }

  /** `visible` takes it of the ghost text, where there is any. */
  private async take(
    editor: vscode.TextEditor | undefined,
    unit: Unit,
    count: number,
    visible: (editor: vscode.TextEditor) => Promise<void>,
  ): Promise<void> {
    if (editor === undefined || count < 1) {
      return;
    }
    const start = editor.selection.active;
    const { version } = editor.document;
    await visible(editor);
    if (editor.document.version !== version) {
      await this.report(editor, start);
    } else {
      await acceptPart(this.client(), editor, unit, count);
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

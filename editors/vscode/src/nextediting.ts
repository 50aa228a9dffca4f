// The next edit in the editor: asked for after an edit, and of a file that somebody comes to after
// edits of others; drawn where it stands, and made by a key.
import * as vscode from 'vscode';
import type { LanguageClient } from 'vscode-languageclient/node';
import { type Edit, far, hint, type Offer, offerOf, preview } from './nextedit';

const METHOD = 'textDocument/copilotInlineEdit';
const VISIBLE = 'infill.nextEditVisible';
/** For a burst of keys to end: ghost text comes first. */
const PAUSE_MS = 300;

interface Answered extends Edit {
  command?: { command: string };
}

interface Shown {
  offer: Offer;
  answered: Answered;
  document: vscode.TextDocument;
  version: number;
}

export class NextEditing implements vscode.Disposable {
  private shown: Shown | undefined;
  private timer: NodeJS.Timeout | undefined;
  private asking: vscode.CancellationTokenSource | undefined;
  private readonly removed = vscode.window.createTextEditorDecorationType({
    isWholeLine: true,
    backgroundColor: new vscode.ThemeColor('diffEditor.removedLineBackground'),
  });
  private readonly added = vscode.window.createTextEditorDecorationType({
    after: {
      color: new vscode.ThemeColor('editorGhostText.foreground'),
      backgroundColor: new vscode.ThemeColor('diffEditor.insertedLineBackground'),
    },
  });
  private readonly elsewhere = vscode.window.createTextEditorDecorationType({
    after: { color: new vscode.ThemeColor('editorCodeLens.foreground'), fontStyle: 'italic' },
  });
  /** The versions of documents that nothing more is wanted for. */
  private readonly dismissed = new WeakMap<vscode.TextDocument, number>();
  private readonly listening: vscode.Disposable;

  constructor(
    private readonly client: () => LanguageClient | undefined,
    private readonly pausedHere: (document: vscode.TextDocument) => boolean,
  ) {
    this.listening = vscode.Disposable.from(
      vscode.workspace.onDidChangeTextDocument(({ document, contentChanges }) => {
        if (document === vscode.window.activeTextEditor?.document && contentChanges.length > 0) {
          this.clear();
          this.soon();
        }
      }),
      vscode.window.onDidChangeActiveTextEditor((editor) => {
        this.clear();
        const document = editor?.document;
        if (document !== undefined && this.dismissed.get(document) !== document.version) {
          this.soon();
        }
      }),
      vscode.window.onDidChangeTextEditorVisibleRanges(() => this.draw()),
      vscode.window.onDidChangeTextEditorSelection(() => this.draw()),
    );
  }

  dispose(): void {
    this.clear();
    vscode.Disposable.from(this.listening, this.removed, this.added, this.elsewhere).dispose();
  }

  /** Goes to where it is when that is far, else makes the edit. */
  async accept(): Promise<void> {
    const editor = vscode.window.activeTextEditor;
    const shown = this.current(editor);
    if (editor === undefined || shown === undefined) {
      return;
    }
    const { offer, answered, document } = shown;
    if (far(offer, editor.selection.active.line)) {
      const row = Math.min(offer.row, document.lineCount - 1);
      const place = new vscode.Position(row, document.lineAt(row).firstNonWhitespaceCharacterIndex);
      editor.selection = new vscode.Selection(place, place);
      editor.revealRange(
        new vscode.Range(place, place),
        vscode.TextEditorRevealType.InCenterIfOutsideViewport,
      );
      return;
    }
    this.clear();
    const client = this.client();
    const range = client?.protocol2CodeConverter.asRange(answered.range);
    if (client === undefined || range === undefined) {
      return;
    }
    if ((await editor.edit((edit) => edit.replace(range, answered.text))) && answered.command) {
      const { command } = answered.command;
      await client.sendRequest('workspace/executeCommand', { command }).catch(() => undefined);
    }
  }

  dismiss(): void {
    if (this.shown !== undefined) {
      this.dismissed.set(this.shown.document, this.shown.version);
    }
    this.clear();
  }

  clear(): void {
    clearTimeout(this.timer);
    this.asking?.cancel();
    this.asking = undefined;
    if (this.shown !== undefined) {
      this.shown = undefined;
      void vscode.commands.executeCommand('setContext', VISIBLE, false);
      for (const editor of vscode.window.visibleTextEditors) {
        this.paint(editor, [], [], []);
      }
    }
  }

  private soon(): void {
    this.timer = setTimeout(() => void this.ask(), PAUSE_MS);
  }

  private async ask(): Promise<void> {
    const editor = vscode.window.activeTextEditor;
    const client = this.client();
    if (editor === undefined || client === undefined || this.pausedHere(editor.document)) {
      return;
    }
    const { document } = editor;
    const version = document.version;
    const asking = new vscode.CancellationTokenSource();
    this.asking = asking;
    const params = {
      textDocument: { uri: client.code2ProtocolConverter.asUri(document.uri), version },
      position: client.code2ProtocolConverter.asPosition(editor.selection.active),
    };
    const answer = await client
      .sendRequest<{ edits?: Answered[] }>(METHOD, params, asking.token)
      .catch(() => undefined);
    const [answered] = answer?.edits ?? [];
    if (asking.token.isCancellationRequested || answered === undefined) {
      return;
    }
    if (document.version !== version || vscode.window.activeTextEditor !== editor) {
      return;
    }
    this.shown = { offer: offerOf(answered), answered, document, version };
    void vscode.commands.executeCommand('setContext', VISIBLE, true);
    this.draw();
    void client.sendNotification('textDocument/didShowInlineEdit', { item: answered });
  }

  private current(editor: vscode.TextEditor | undefined): Shown | undefined {
    const shown = this.shown;
    return shown?.document === editor?.document && shown?.version === editor?.document.version
      ? shown
      : undefined;
  }

  private draw(): void {
    const editor = vscode.window.activeTextEditor;
    const shown = this.current(editor);
    if (editor === undefined || shown === undefined) {
      return;
    }
    const { offer, document } = shown;
    const line = (row: number) => document.lineAt(Math.min(row, document.lineCount - 1)).range;
    const old: vscode.Range[] = [];
    for (let row = offer.row; row < offer.endRow; row++) {
      old.push(line(row));
    }
    // Of an insertion the line before it is the one that it comes behind.
    const beside = line(offer.endRow > offer.row ? offer.endRow - 1 : Math.max(offer.row - 1, 0));
    const inSight = editor.visibleRanges.some((range) => range.intersection(beside) !== undefined);
    const cursor = line(editor.selection.active.line);
    this.paint(
      editor,
      old,
      [{ range: beside, renderOptions: { after: { contentText: preview(offer) } } }],
      inSight ? [] : [{ range: cursor, renderOptions: { after: { contentText: hint(offer) } } }],
    );
  }

  private paint(
    editor: vscode.TextEditor,
    removed: vscode.Range[],
    added: vscode.DecorationOptions[],
    elsewhere: vscode.DecorationOptions[],
  ): void {
    editor.setDecorations(this.removed, removed);
    editor.setDecorations(this.added, added);
    editor.setDecorations(this.elsewhere, elsewhere);
  }
}

// The item in the status bar: shows the facts as they come in.
import * as vscode from 'vscode';
import { type Facts, appearance } from './status';

// Below this nobody sees an answer coming, and the item would only flicker.
const THINKING_MS = 150;

export class StatusBar implements vscode.Disposable {
  facts: Facts = {
    server: 'starting',
    reason: '',
    workspaceServer: '',
    busy: '',
    problem: '',
    note: '',
    accepted: '',
    paused: undefined,
  };
  details = '';
  private readonly item: vscode.StatusBarItem;
  private timer: NodeJS.Timeout | undefined;

  constructor() {
    this.item = vscode.window.createStatusBarItem('infill', vscode.StatusBarAlignment.Right, 100);
    this.item.name = 'infill';
    this.item.command = 'infill.menu';
    this.draw();
    this.item.show();
  }

  set(change: Partial<Facts>): void {
    this.facts = { ...this.facts, ...change };
    clearTimeout(this.timer);
    if (appearance(this.facts).state === 'thinking') {
      this.timer = setTimeout(() => this.draw(), THINKING_MS);
    } else {
      this.draw();
    }
  }

  private draw(): void {
    const { state, text, tooltip, details } = appearance(this.facts);
    this.details = details.replace('\n', '; ');
    this.item.text = text;
    this.item.tooltip = details;
    this.item.accessibilityInformation = { label: tooltip, role: 'button' };
    this.item.backgroundColor =
      state === 'error' ? new vscode.ThemeColor('statusBarItem.errorBackground') : undefined;
  }

  dispose(): void {
    clearTimeout(this.timer);
    this.item.dispose();
  }
}

// The item in the status bar: shows the facts as they come in.
import * as vscode from 'vscode';
import { type Facts, look } from './status';

// Below this nobody sees an answer coming, and the item would only flicker.
const THINKING_MS = 150;

export class StatusBar implements vscode.Disposable {
  facts: Facts = {
    server: 'starting',
    reason: '',
    busy: false,
    problem: '',
    asking: 0,
    paused: undefined,
  };
  tooltip = '';
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
    const onlyAsks = Object.keys(change).every((name) => name === 'asking');
    this.facts = { ...this.facts, ...change };
    if (!onlyAsks || this.facts.asking === 0) {
      clearTimeout(this.timer);
      this.timer = undefined;
      this.draw();
    } else {
      this.timer ??= setTimeout(() => this.draw(), THINKING_MS);
    }
  }

  private draw(): void {
    const { state, text, tooltip } = look(this.facts);
    this.tooltip = tooltip;
    this.item.text = text;
    this.item.tooltip = tooltip;
    this.item.accessibilityInformation = { label: tooltip, role: 'button' };
    this.item.backgroundColor =
      state === 'error' ? new vscode.ThemeColor('statusBarItem.errorBackground') : undefined;
  }

  dispose(): void {
    clearTimeout(this.timer);
    this.item.dispose();
  }
}

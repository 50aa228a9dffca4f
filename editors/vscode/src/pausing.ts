// Pausing as the user does it: asks pause.ts, and changes what it decides from.
import * as vscode from 'vscode';
import { pausedIn, toggled, toggledFile } from './pause';
import type { Paused } from './status';

const PAUSED_FILES = 'pausedFiles';

export class Pausing {
  constructor(private readonly memory: vscode.Memento) {}

  of(document: vscode.TextDocument | undefined): Paused | undefined {
    return pausedIn(
      { enable: enabled(), disabledLanguages: disabledLanguages() },
      this.files(),
      document?.uri.toString(),
      document?.languageId,
    );
  }

  async toggleHere(): Promise<void> {
    const uri = vscode.window.activeTextEditor?.document.uri.toString();
    if (uri !== undefined) {
      await this.memory.update(PAUSED_FILES, toggledFile(this.files(), uri));
      hideGhostText();
    }
  }

  async toggleLanguage(): Promise<void> {
    const language = vscode.window.activeTextEditor?.document.languageId;
    if (language !== undefined) {
      await change('disabledLanguages', toggled(disabledLanguages(), language));
    }
  }

  toggleEverywhere(): Promise<void> {
    return change('enable', !enabled());
  }

  private files(): string[] {
    return this.memory.get<string[]>(PAUSED_FILES) ?? [];
  }
}

function settings(): vscode.WorkspaceConfiguration {
  return vscode.workspace.getConfiguration('infill');
}

function enabled(): boolean {
  return settings().get<boolean>('enable') ?? true;
}

function disabledLanguages(): string[] {
  return settings().get<string[]>('disabledLanguages') ?? [];
}

// Where the value that counts was set: a user setting would not reach past a workspace's.
async function change(name: string, value: unknown): Promise<void> {
  const workspace = settings().inspect(name)?.workspaceValue !== undefined;
  const target = workspace
    ? vscode.ConfigurationTarget.Workspace
    : vscode.ConfigurationTarget.Global;
  await settings().update(name, value, target);
  hideGhostText();
}

function hideGhostText(): void {
  void vscode.commands.executeCommand('editor.action.inlineSuggest.hide');
}

// The extension: finds the server, keeps it running, and shows how it is. What to suggest and when
// is the server's affair; what is decided here stands in the modules without VS Code.
import * as path from 'node:path';
import * as vscode from 'vscode';
import type { LanguageClient } from 'vscode-languageclient/node';
import { About } from './about';
import { Accepting } from './accepting';
import { clientOf, infill, infillHoles } from './client';
import { type Found, type Manifest, modelOptions, modelSettings } from './find';
import { installServer, run } from './installer';
import { Locator, setting } from './locate';
import { NextEditing } from './nextediting';
import { Pausing } from './pausing';
import { menu } from './status';
import { StatusBar } from './statusbar';
import { Supervisor } from './supervisor';

const COUNTS_MS = 60_000; // between two looks at what was accepted

let extension: Extension | undefined;

export function activate(context: vscode.ExtensionContext): void {
  extension = new Extension(context);
  extension.refresh();
  void extension.restart();
}

export function deactivate(): Promise<void> | undefined {
  return extension?.close();
}

class Extension {
  private readonly log = vscode.window.createOutputChannel('infill', { log: true });
  private readonly bar = new StatusBar();
  private readonly pausing: Pausing;
  private readonly locator: Locator;
  private readonly supervisor: Supervisor<LanguageClient>;
  private readonly accepting = new Accepting(() => this.supervisor.connection);
  private readonly about = new About(() => this.supervisor.connection);
  private readonly modelSettings: string[];
  private installation: AbortController | undefined;
  /** Questions that were asked in this session. */
  private readonly asked = new Set<string>();

  constructor(context: vscode.ExtensionContext) {
    this.pausing = new Pausing(context.workspaceState);
    this.locator = new Locator(context);
    const { id } = context.extension;
    const manifest = context.extension.packageJSON as Manifest & { version: string };
    this.modelSettings = modelSettings(manifest);
    this.supervisor = new Supervisor<LanguageClient>({
      connect: (child, closed) =>
        clientOf(child, closed, {
          log: this.log,
          version: manifest.version,
          changed: (facts) => this.bar.set(facts),
          pausedHere: (document) => this.pausing.of(document) === 'here',
          answered: (document, items) => this.accepting.answered(document, items),
        }),
      changed: (facts) => this.bar.set(facts),
      error: (message) => this.log.error(message),
      notifyDied: () =>
        void this.notify(
          vscode.window.showWarningMessage,
          'infill: the server ended unexpectedly and is being started again.',
        ),
      cwd: this.locator.cwd,
    });
    const nextEditing = new NextEditing(
      () => this.supervisor.connection,
      (document) => this.pausing.of(document) !== undefined,
    );
    const editor = () => vscode.window.activeTextEditor;
    const commands: Record<string, (given?: unknown) => unknown> = {
      'infill.selection': () => infill(this.supervisor.connection, editor()),
      'infill.atCursor': () => infill(this.supervisor.connection, editor()),
      'infill.holes': () => infillHoles(this.supervisor.connection, editor()),
      'infill.suggest': () => vscode.commands.executeCommand('editor.action.inlineSuggest.trigger'),
      'infill.acceptWord': () => this.accepting.word(editor()),
      'infill.acceptLine': () => this.accepting.lines(editor(), 1),
      'infill.acceptLines': (given) => this.acceptLines(given),
      'infill.explainHere': () => this.about.explain(editor()),
      'infill.snoozeFor': (minutes) => this.about.snooze(minutes),
      'infill.forgetLearned': () => this.about.forget(),
      'infill.nextEdit': () => nextEditing.accept(),
      'infill.dismissNextEdit': () => nextEditing.dismiss(),
      'infill.menu': () => this.showMenu(),
      'infill.toggleHere': () => this.pausing.toggleHere().then(() => this.refresh()),
      'infill.toggleLanguage': () => this.pausing.toggleLanguage(),
      'infill.toggleEverywhere': () => this.pausing.toggleEverywhere(),
      'infill.restart': () => this.restart(),
      'infill.install': () => this.install(),
      'infill.useWorkspaceServer': () => this.useWorkspaceServer(),
      'infill.showLog': () => this.log.show(),
      'infill.doctor': () => this.doctor(),
      'infill.openSettings': () =>
        vscode.commands.executeCommand('workbench.action.openSettings', `@ext:${id}`),
    };
    const refresh = () => this.refresh();
    const counting = setInterval(() => void this.count(), COUNTS_MS);
    context.subscriptions.push(
      this.log,
      this.bar,
      this.about,
      nextEditing,
      ...Object.entries(commands).map(([name, act]) => vscode.commands.registerCommand(name, act)),
      { dispose: () => clearInterval(counting) },
      vscode.window.onDidChangeActiveTextEditor(refresh),
      vscode.workspace.onDidOpenTextDocument(refresh), // also when a document's language changes
      vscode.workspace.onDidChangeConfiguration((event) => {
        const started = [
          ...['infill-ls.path', 'infill-ls.shared'],
          ...this.modelSettings.map((name) => `infill.${name}`),
        ];
        if (started.some((name) => event.affectsConfiguration(name))) {
          void this.restart();
        } else if (event.affectsConfiguration('infill')) {
          this.refresh();
        }
      }),
      // The workspace's own server may be asked about from now on.
      vscode.workspace.onDidGrantWorkspaceTrust(() => {
        if (this.supervisor.connection === undefined) {
          void this.restart();
        }
      }),
    );
  }

  refresh(): void {
    this.bar.set({ paused: this.pausing.of(vscode.window.activeTextEditor?.document) });
  }

  restart(): Promise<void> {
    return this.supervisor.restart(() => {
      const found = this.locator.find();
      if (found.kind === 'found') {
        this.log.info(`server: ${found.command}, from ${found.where}`);
        const shared = vscode.workspace.getConfiguration('infill-ls').get<boolean>('shared');
        return [found.command, ...this.modelOptions(), shared ? '--connect' : '--stdio'];
      }
      this.log.warn(found.reason);
      const { reason, workspaceServer = '' } = found;
      this.bar.set({ server: 'absent', reason, workspaceServer });
      void this.offer(found);
      return undefined;
    });
  }

  close(): Promise<void> {
    this.installation?.abort();
    return this.supervisor.close();
  }

  /** Each question once a session: whoever says no has the status bar to say yes. */
  private async offer(found: Found): Promise<void> {
    if (found.kind === 'found') {
      return;
    }
    const about = found.ask ? found.workspaceServer : undefined;
    if (this.asked.has(about ?? 'install') || setting('path')) {
      return;
    }
    this.asked.add(about ?? 'install');
    if (about !== undefined) {
      await this.askFor(about);
      return;
    }
    const answer = await vscode.window.showInformationMessage(
      'infill needs its language server. Install it into an environment of its own?',
      'Install',
      'Not Now',
    );
    if (answer === 'Install') {
      await this.install();
    }
  }

  private async askFor(workspaceServer: string): Promise<void> {
    const said = await this.locator.ask(workspaceServer);
    if (said === 'install') {
      await this.install();
    } else if (said === 'answered') {
      await this.restart();
    }
  }

  private async useWorkspaceServer(): Promise<void> {
    const program = this.locator.workspaceServer();
    if (program === undefined) {
      void vscode.window.showInformationMessage(
        'infill: no infill-ls of this workspace would be started: it has none, or yours comes first.',
      );
    } else if (!vscode.workspace.isTrusted) {
      await vscode.commands.executeCommand('workbench.trust.manage');
    } else {
      await this.askFor(program);
    }
  }

  private async install(): Promise<void> {
    const installed = await this.supervisor.whileStopped(async () => {
      this.bar.set({ server: 'installing' });
      this.installation = new AbortController();
      const problem = await installServer({
        environment: this.locator.environment,
        python: setting('python'),
        package: setting('package'),
        windows: process.platform === 'win32',
        log: this.log,
        stop: this.installation,
      });
      this.installation = undefined;
      if (problem !== undefined) {
        this.bar.set({ server: 'absent', reason: problem });
        const message = `infill: the server was not installed. ${problem}`;
        void this.notify(vscode.window.showErrorMessage, message);
      }
      return problem === undefined;
    });
    if (installed) {
      await this.restart();
    }
  }

  private async doctor(): Promise<void> {
    const found = this.locator.find();
    if (found.kind === 'absent') {
      void vscode.window.showWarningMessage(`infill: ${found.reason}.`);
      return;
    }
    const given = ['doctor', ...this.modelOptions()];
    const page = await vscode.window.withProgress(
      { location: vscode.ProgressLocation.Notification, title: 'infill: examining this machine' },
      () => run(found.command, given, { cwd: this.locator.cwd }),
    );
    const document = await vscode.workspace.openTextDocument({ content: page.out + page.errors });
    await vscode.window.showTextDocument(document, { preview: true });
  }

  private modelOptions(): string[] {
    const settings = vscode.workspace.getConfiguration('infill');
    return modelOptions(this.modelSettings, (name) => settings.get(name));
  }

  /** `given` are the arguments of a key binding: { "count": 3 }. */
  private async acceptLines(given: unknown): Promise<void> {
    const editor = vscode.window.activeTextEditor;
    let count = (given as { count?: number } | undefined)?.count;
    if (count === undefined) {
      const said = await vscode.window.showInputBox({
        prompt: 'How many lines of the suggestion to accept',
        value: '2',
        validateInput: (text) => (/^[1-9]\d{0,2}$/.test(text) ? undefined : 'a number from 1 to 999'),
      });
      count = Number(said ?? 0);
    }
    await this.accepting.lines(editor, count);
  }

  private async count(): Promise<void> {
    this.bar.set({ accepted: await this.about.stats().catch(() => '') });
  }

  private async showMenu(): Promise<void> {
    await this.count();
    const document = vscode.window.activeTextEditor?.document;
    const file = document && path.posix.basename(document.uri.path);
    const picked = await vscode.window.showQuickPick(
      menu(this.bar.facts, file, document?.languageId),
      { title: this.bar.details },
    );
    if (picked !== undefined) {
      await vscode.commands.executeCommand(picked.command);
      // The click took the keys to the status bar; who pauses or snoozes it wants to type on.
      if (/^infill\.(toggle|snooze)/.test(picked.command)) {
        await vscode.commands.executeCommand('workbench.action.focusActiveEditorGroup');
      }
    }
  }

  private async notify(
    show: (message: string, ...items: string[]) => Thenable<string | undefined>,
    message: string,
  ): Promise<void> {
    if ((await show(message, 'Show Log')) !== undefined) {
      this.log.show();
    }
  }
}

// The extension: finds the server, keeps it running, and shows how it is. What to suggest and when
// is the server's affair; what is decided here stands in the modules without VS Code.
import * as fs from 'node:fs';
import * as path from 'node:path';
import * as vscode from 'vscode';
import { type Disk, doctorArguments, findServer, type Found } from './find';
import { installServer, run } from './installer';
import { menu } from './status';
import { pausedIn, toggled, toggledFile } from './pause';
import { Server } from './server';
import { StatusBar } from './statusbar';

const PAUSED_FILES = 'pausedFiles';

const disk: Disk = {
  windows: process.platform === 'win32',
  join: path.join,
  executable(file) {
    try {
      fs.accessSync(file, fs.constants.X_OK);
      return fs.statSync(file).isFile();
    } catch {
      return false;
    }
  },
};

let server: Server | undefined;

export function activate(context: vscode.ExtensionContext): void {
  const log = vscode.window.createOutputChannel('infill', { log: true });
  const bar = new StatusBar();
  const environment = path.join(context.globalStorageUri.fsPath, 'server');
  let offered = false;

  const settings = (): vscode.WorkspaceConfiguration => vscode.workspace.getConfiguration('infill');
  const own = (name: string): string =>
    vscode.workspace.getConfiguration('infill-ls').get<string>(name) ?? '';
  const pausedFiles = (): string[] => context.workspaceState.get<string[]>(PAUSED_FILES) ?? [];

  const paused = (document: vscode.TextDocument | undefined) =>
    pausedIn(
      {
        enable: settings().get<boolean>('enable') ?? true,
        disabledLanguages: settings().get<string[]>('disabledLanguages') ?? [],
      },
      pausedFiles(),
      document?.uri.toString(),
      document?.languageId,
    );

  const find = (): Found | string =>
    findServer(
      {
        configured: own('path'),
        folders: vscode.workspace.isTrusted
          ? (vscode.workspace.workspaceFolders ?? [])
              .filter((folder) => folder.uri.scheme === 'file')
              .map((folder) => folder.uri.fsPath)
          : [],
        path: (process.env['PATH'] ?? '').split(path.delimiter),
        managed: environment,
      },
      disk,
    );

  const current = new Server({
    log,
    version: String((context.extension.packageJSON as { version: unknown }).version),
    changed: (facts) => bar.set(facts),
    pausedHere: (document) => paused(document) === 'here',
  });
  server = current;

  const refresh = (): void =>
    bar.set({ paused: paused(vscode.window.activeTextEditor?.document) });

  const start = async (): Promise<void> => {
    const found = find();
    if (typeof found !== 'string') {
      log.info(`server: ${found.command}, from ${found.where}`);
      return current.start(found.command);
    }
    log.warn(found);
    bar.set({ server: 'absent', reason: found });
    // Once a session: whoever says no has the status bar to say yes.
    if (!offered && !own('path')) {
      offered = true;
      const answer = await vscode.window.showInformationMessage(
        'infill needs its language server. Install it into an environment of its own?',
        'Install',
        'Not Now',
      );
      if (answer === 'Install') {
        await install();
      }
    }
  };

  const restart = async (): Promise<void> => {
    await current.stop();
    await start();
  };

  const install = async (): Promise<void> => {
    await current.stop();
    bar.set({ server: 'installing' });
    const problem = await installServer({
      environment,
      python: own('python'),
      package: own('package'),
      windows: disk.windows,
      log,
    });
    if (problem === undefined) {
      return start();
    }
    bar.set({ server: 'absent', reason: problem });
    const answer = await vscode.window.showErrorMessage(
      `infill: the server was not installed. ${problem}`,
      'Show Log',
    );
    if (answer !== undefined) {
      log.show();
    }
  };

  const doctor = async (): Promise<void> => {
    const found = find();
    if (typeof found === 'string') {
      void vscode.window.showWarningMessage(`infill: ${found}.`);
      return;
    }
    const page = await vscode.window.withProgress(
      { location: vscode.ProgressLocation.Notification, title: 'infill: the doctor is looking' },
      () => run(found.command, doctorArguments((name) => settings().get(name))),
    );
    const document = await vscode.workspace.openTextDocument({ content: page.out + page.errors });
    await vscode.window.showTextDocument(document, { preview: true });
  };

  const toggleHere = async (): Promise<void> => {
    const uri = vscode.window.activeTextEditor?.document.uri.toString();
    if (uri !== undefined) {
      await context.workspaceState.update(PAUSED_FILES, toggledFile(pausedFiles(), uri));
      hideGhost();
      refresh();
    }
  };

  const toggleLanguage = async (): Promise<void> => {
    const language = vscode.window.activeTextEditor?.document.languageId;
    if (language !== undefined) {
      const now = settings().get<string[]>('disabledLanguages') ?? [];
      await change('disabledLanguages', toggled(now, language));
    }
  };

  const toggleEverywhere = (): Promise<void> =>
    change('enable', !(settings().get<boolean>('enable') ?? true));

  // Where the value that counts was set: a user setting would not reach past a workspace's.
  const change = async (name: string, value: unknown): Promise<void> => {
    const workspace = settings().inspect(name)?.workspaceValue !== undefined;
    const target = workspace
      ? vscode.ConfigurationTarget.Workspace
      : vscode.ConfigurationTarget.Global;
    await settings().update(name, value, target);
    hideGhost();
  };

  const showMenu = async (): Promise<void> => {
    const document = vscode.window.activeTextEditor?.document;
    const file = document && path.posix.basename(document.uri.path);
    const picked = await vscode.window.showQuickPick(menu(bar.facts, file, document?.languageId), {
      title: bar.tooltip,
    });
    if (picked !== undefined) {
      await vscode.commands.executeCommand(picked.command);
      // The click took the keys to the status bar; who pauses wants to type on.
      if (picked.command.startsWith('infill.toggle')) {
        await vscode.commands.executeCommand('workbench.action.focusActiveEditorGroup');
      }
    }
  };

  const commands: Record<string, () => unknown> = {
    'infill.selection': () => current.infill(vscode.window.activeTextEditor),
    'infill.atCursor': () => current.infill(vscode.window.activeTextEditor),
    'infill.suggest': () => vscode.commands.executeCommand('editor.action.inlineSuggest.trigger'),
    'infill.menu': showMenu,
    'infill.toggleHere': toggleHere,
    'infill.toggleLanguage': toggleLanguage,
    'infill.toggleEverywhere': toggleEverywhere,
    'infill.restart': restart,
    'infill.install': install,
    'infill.showLog': () => log.show(),
    'infill.doctor': doctor,
    'infill.openSettings': () =>
      vscode.commands.executeCommand(
        'workbench.action.openSettings',
        `@ext:${context.extension.id}`,
      ),
  };
  context.subscriptions.push(
    log,
    bar,
    ...Object.entries(commands).map(([name, act]) => vscode.commands.registerCommand(name, act)),
    vscode.window.onDidChangeActiveTextEditor(refresh),
    vscode.workspace.onDidOpenTextDocument(refresh), // also when a document's language changes
    vscode.workspace.onDidChangeConfiguration((event) => {
      if (event.affectsConfiguration('infill-ls.path')) {
        void restart();
      } else if (event.affectsConfiguration('infill')) {
        refresh();
      }
    }),
    // The workspace's own environment may be used from now on.
    vscode.workspace.onDidGrantWorkspaceTrust(restart),
  );
  refresh();
  void start();
}

export function deactivate(): Promise<void> | undefined {
  return server?.stop();
}

function hideGhost(): void {
  void vscode.commands.executeCommand('editor.action.inlineSuggest.hide');
}

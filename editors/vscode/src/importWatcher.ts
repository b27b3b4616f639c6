// Imports the conversations of other programs while this window is open, if the setting `segue.watch` says so, and asks
// for it once on a machine that has some.

import * as vscode from "vscode";
import { run } from "./programs";
import type { Server } from "./server";
import { WatchProcess } from "./watchProcess";

const SETTING = "watch";
/** In the global state: `never`, or when "Not Now" was chosen, in milliseconds. */
const ANSWER = "segue.watchAnswer";
const ASK_AGAIN_MS = 30 * 24 * 3_600_000;
const DISCOVER_TIMEOUT_MS = 30_000;

/** Runs `segue watch` as the setting says. */
export class ImportWatcher implements vscode.Disposable {
  private readonly process: WatchProcess;
  private readonly disposables: vscode.Disposable[];
  private isAsked = false;
  private isStarted = false;
  /** A window that has just been opened asks nothing: whoever works in it may not be here for conversations. */
  private isUsed = false;

  constructor(
    private readonly context: vscode.ExtensionContext,
    private readonly server: Server,
    log: vscode.LogOutputChannel,
  ) {
    this.process = new WatchProcess({
      resolve: () => server.getOtherCommand("watch", "--json"),
      cwd: server.storage,
      log: (line) => log.info(line),
    });
    this.disposables = [
      vscode.workspace.onDidChangeConfiguration((event) => {
        if (event.affectsConfiguration("segue")) {
          this.process.stop(); // another server, or another database
          this.update();
        }
      }),
      // Not sooner: the first start of the server may have to install it.
      server.onDidStart(() => {
        this.isStarted = true;
        this.update();
        void this.askIfUsed();
      }),
      server.onDidUse(() => {
        this.isUsed = true;
        void this.askIfUsed();
      }),
    ];
  }

  /** Offer the import to a user who asks for it, and say what there is. */
  async offer(): Promise<void> {
    if (this.isOn) {
      void vscode.window.showInformationMessage("Segue imports the conversations of other programs while VS Code runs.");
      return;
    }
    const names = await this.discover();
    if (names.length === 0) {
      void vscode.window.showInformationMessage("Segue has found no conversations of other programs on this machine.");
    } else if ((await vscode.window.showInformationMessage(describeOffer(names), "Yes", "No")) === "Yes") {
      await this.turnOn();
    }
  }

  /** End the process, and stop listening. */
  dispose(): void {
    this.process.stop();
    for (const disposable of this.disposables) {
      disposable.dispose();
    }
  }

  private get isOn(): boolean {
    return vscode.workspace.getConfiguration("segue").get<boolean>(SETTING, false);
  }

  private async turnOn(): Promise<void> {
    await vscode.workspace.getConfiguration("segue").update(SETTING, true, vscode.ConfigurationTarget.Global);
  }

  private update(): void {
    if (this.isOn) {
      this.process.start();
    } else {
      this.process.stop();
    }
  }

  private async askIfUsed(): Promise<void> {
    if (this.isStarted && this.isUsed) {
      await this.ask();
    }
  }

  private async ask(): Promise<void> {
    const answer = this.context.globalState.get<"never" | number>(ANSWER);
    const isAnswered = answer === "never" || (answer !== undefined && Date.now() - answer < ASK_AGAIN_MS);
    const isSet = vscode.workspace.getConfiguration("segue").inspect(SETTING)?.globalValue !== undefined;
    if (this.isAsked || isAnswered || isSet || this.context.extensionMode === vscode.ExtensionMode.Test) {
      return;
    }
    this.isAsked = true;
    const names = await this.discover().catch(() => []);
    if (names.length === 0) {
      return;
    }
    const choice = await vscode.window.showInformationMessage(describeOffer(names), "Yes", "Not Now", "Never");
    if (choice === "Yes") {
      await this.turnOn();
    } else {
      await this.context.globalState.update(ANSWER, choice === "Never" ? "never" : Date.now());
    }
  }

  /** The names of the programs that have conversations on this machine. */
  private async discover(): Promise<string[]> {
    const { command, args } = await this.server.getOtherCommand("import", "--discover", "--json");
    const running = run(command, args, { cwd: this.server.storage, timeout: DISCOVER_TIMEOUT_MS });
    const found = await running.catch((error: { stdout?: string }) => {
      if (error.stdout?.trim() !== "[]") {
        throw error;
      }
      return error.stdout; // it has found nothing, which is a failure for scripts
    });
    return (JSON.parse(found) as { name: string }[]).map(({ name }) => name);
  }
}

function describeOffer(names: readonly string[]): string {
  const programs = new Intl.ListFormat("en").format(names);
  return `Import conversations of ${programs} into Segue, and keep them up to date while VS Code runs?`;
}

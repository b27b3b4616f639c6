// The server of this window: started when it is first needed, asked, and started again when it died.

import * as vscode from "vscode";
import { CloseAction, LanguageClient, ResponseError, State, TransportKind } from "vscode-languageclient/node";
import { findServer, installCommand, type Launch } from "./launch";
import { LostError, type Method, type Methods, RefusedError } from "./protocol";

/** What vscode-jsonrpc says when the connection ended before the answer: -32099 to -32096. */
const CONNECTION_ERRORS = { from: -32099, to: -32096 };
const READING: readonly Method[] = ["session/open", "session/events", "session/list", "session/findResumable"];

/** Starts the server on the first request; the client library starts it again when it dies. */
export class Server implements vscode.Disposable {
  private client: Promise<LanguageClient> | undefined;
  private restarting: Promise<void> | undefined;
  private run = 0;
  private isFailureShown = false;
  private readonly started = new vscode.EventEmitter<void>();
  private readonly gone = new vscode.EventEmitter<void>();

  /** A server runs that knows nothing of what an earlier one had open. */
  readonly onDidStart = this.started.event;

  constructor(
    private readonly context: vscode.ExtensionContext,
    private readonly log: vscode.LogOutputChannel,
  ) {}

  /** Ask the server. Rejects with a RefusedError, or a LostError if no answer can come any more. */
  readonly request = async <M extends Method>(method: M, params: Methods[M][0]): Promise<Methods[M][1]> => {
    try {
      return await this.ask(method, params);
    } catch (error) {
      if (!(error instanceof LostError) || error.run === 0 || !READING.includes(method)) {
        throw error;
      }
      await Promise.race([this.whenBack(error.run), this.whenGone()]);
      return this.ask(method, params);
    }
  };

  /** Resolves when a later run of the server than this one can be asked. */
  whenBack(run: number): Promise<void> {
    return run < this.run ? Promise.resolve() : once(this.onDidStart);
  }

  /** Where the server keeps the conversations, or undefined if it does not say. */
  async database(): Promise<string | undefined> {
    const client = await this.running();
    const { sessions } = client.initializeResult?.capabilities.experimental ?? {};
    return (sessions as { database?: string | null } | undefined)?.database ?? undefined;
  }

  /** End the server and start another; asking several times at once restarts it once. */
  restart(): Promise<void> {
    this.restarting ??= this.stop()
      .then(() => this.running())
      .then(() => {})
      .finally(() => (this.restarting = undefined));
    return this.restarting;
  }

  async stop(): Promise<void> {
    const client = await this.client?.catch(() => undefined);
    this.client = undefined;
    await client?.dispose();
  }

  dispose(): void {
    this.started.dispose();
    this.gone.dispose();
  }

  private async ask<M extends Method>(method: M, params: Methods[M][0]): Promise<Methods[M][1]> {
    const client = await this.running();
    const run = this.run;
    try {
      return await client.sendRequest<Methods[M][1]>(method, params);
    } catch (error) {
      throw meaning(error, run);
    }
  }

  private running(): Promise<LanguageClient> {
    this.client ??= this.start().catch((error: unknown) => {
      this.client = undefined;
      void this.showFailure(error);
      throw new LostError(messageOf(error), 0);
    });
    return this.client;
  }

  private async start(): Promise<LanguageClient> {
    const launch = await vscode.window.withProgress(
      { location: vscode.ProgressLocation.Window, title: "Segue: starting" },
      () => this.findServer(),
    );
    this.log.info(`Starting ${[launch.command, ...launch.args].join(" ")}`);
    const client = this.clientOf(launch);
    client.onDidChangeState(({ newState }) => {
      if (newState === State.Running) {
        this.run += 1;
        this.setUnavailable(false);
        this.started.fire();
      }
    });
    await client.start();
    return client;
  }

  private async findServer(): Promise<Launch> {
    const settings = vscode.workspace.getConfiguration("segue");
    const database = settings.get<string>("database", "");
    const { command, args } = await findServer({
      command: settings.get<string[]>("server.command", []),
      wheels: this.wheels,
      storage: this.storage,
      log: (line) => this.log.info(line),
    });
    return { command, args: [...args, ...(database === "" ? [] : ["--database", database])] };
  }

  private clientOf({ command, args }: Launch): LanguageClient {
    const client: LanguageClient = new LanguageClient(
      "segue",
      "Segue",
      // Not in the workspace: what lies there must not be imported, nor found as a program.
      { command, args, options: { cwd: this.storage }, transport: TransportKind.stdio },
      {
        outputChannel: this.log,
        errorHandler: {
          error: (error, message, count) => defaults.error(error, message, count),
          closed: async () => {
            const decided = await defaults.closed();
            if (decided.action === CloseAction.DoNotRestart) {
              this.client = undefined;
              this.gone.fire();
              void this.showFailure(new Error(decided.message));
            }
            return { ...decided, handled: true };
          },
        },
        initializationFailedHandler: () => false,
      },
    );
    const defaults = client.createDefaultErrorHandler();
    return client;
  }

  private whenGone(): Promise<void> {
    return once(this.gone.event);
  }

  /** What the view "Conversations" says when it has nothing to show. */
  private setUnavailable(isSo: boolean): void {
    void vscode.commands.executeCommand("setContext", "segue.unavailable", isSo);
  }

  private get storage(): string {
    return this.context.globalStorageUri.fsPath;
  }

  private get wheels(): string {
    return vscode.Uri.joinPath(this.context.extensionUri, "server").fsPath;
  }

  private async showFailure(error: unknown): Promise<void> {
    this.log.error(messageOf(error));
    this.setUnavailable(true);
    if (this.isFailureShown) {
      return;
    }
    this.isFailureShown = true;
    const text = `Segue's server cannot be started. ${messageOf(error)}`;
    const choice = await vscode.window.showErrorMessage(text, "Open Log", "Copy Install Command", "Try Again");
    this.isFailureShown = false;
    if (choice === "Open Log") {
      this.log.show();
    } else if (choice === "Copy Install Command") {
      await vscode.env.clipboard.writeText(installCommand(this.wheels));
    } else if (choice === "Try Again") {
      await this.restart().catch(() => undefined);
    }
  }
}

function meaning(error: unknown, run: number): Error {
  if (!(error instanceof ResponseError) || isOfTheConnection(error.code)) {
    return new LostError(messageOf(error), run);
  }
  const { kind = "InvalidParams", ...data } = (error.data ?? {}) as { kind?: string };
  return new RefusedError(error.message, kind, data);
}

function isOfTheConnection(code: number): boolean {
  return CONNECTION_ERRORS.from <= code && code <= CONNECTION_ERRORS.to;
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function once(event: vscode.Event<void>): Promise<void> {
  return new Promise((resolve) => {
    const listener = event(() => {
      listener.dispose();
      resolve();
    });
  });
}

// The server process of this window, and the connection to it.

import * as vscode from "vscode";
import { CloseAction, ErrorCodes, LanguageClient, ResponseError, State, TransportKind } from "vscode-languageclient/node";
import { escapeMessage } from "./format";
import { isolatePython } from "./programs";
import { type Appended, type Method, type Methods, type Notifications, RETRIABLE_METHODS } from "./protocol";
import { ConnectionLostError, isStartFailure, RefusedError, type Request } from "./requests";
import { copyParams } from "./snapshot";
import { buildInstallCommand, NoServerError, otherCommand, resolveServerCommand, type ServerCommand } from "./serverCommand";

/** The error codes of vscode-jsonrpc for a connection that closed before the response arrived. */
const CONNECTION_ERRORS = { first: -32099, last: -32096 };

/** Writes its errors to the log only: the library would show each as a message, beside ours. */
class QuietClient extends LanguageClient {
  override error(message: string, data?: unknown): void {
    super.error(message, data, false);
  }
}

/** Why the server could not be started. */
interface StartFailure {
  message: string;
  isPythonMissing: boolean;
}

/**
 * Starts the server with the first request. The client library restarts it when it exits unexpectedly, and gives up
 * if that happens too often; the next request starts it anew then.
 */
export class Server implements vscode.Disposable {
  private client: Promise<LanguageClient> | undefined;
  private restarting: Promise<void> | undefined;
  /** How many server processes have been started. */
  private generation = 0;
  /** Why the server could not be started, until it is. */
  private failure: StartFailure | undefined;
  /** Whether the user was told that, and it has not been started since. */
  private isFailureShown = false;
  private isMessageOpen = false;
  /** An attempt that nobody asked for does not make the private environment again: that takes a while, and fails again. */
  private mayCreateEnvironment = true;
  /** Whether anything but the start of this window has needed the server. */
  private isUsed = false;
  private readonly used = new vscode.EventEmitter<void>();
  private readonly started = new vscode.EventEmitter<void>();
  private readonly failed = new vscode.EventEmitter<void>();

  private readonly listChanged = new vscode.EventEmitter<void>();
  private readonly appended = new vscode.EventEmitter<Appended>();

  /** Fires when a new server process accepts requests. It has no session open, and follows nothing. */
  readonly onDidStart = this.started.event;
  /** Fires once: with the first request that is made for somebody. */
  readonly onDidUse = this.used.event;
  /** Fires when a list of sessions may be outdated, while `session/follow` asks for that. */
  readonly onDidChangeList = this.listChanged.event;
  /** Fires with what any window appends to a session that `session/follow` names. */
  readonly onDidAppend = this.appended.event;

  constructor(
    private readonly context: vscode.ExtensionContext,
    private readonly log: vscode.LogOutputChannel,
  ) {}

  /**
   * Send a request, and start the server if necessary. A request that may be repeated is retried once after a restart.
   * Rejects with a `RefusedError`, or with a `ConnectionLostError` if no response can arrive.
   */
  readonly request: Request = async (method, params) => {
    if (!this.isUsed) {
      this.isUsed = true;
      this.used.fire();
    }
    try {
      return await this.sendOrRetry(method, params, false);
    } catch (error) {
      if (isStartFailure(error) && !this.isFailureShown) {
        void this.showFailure();
      }
      throw error;
    }
  };

  /** `request`, for what nobody has asked for: that no server can be started is only logged, and shown by the view. */
  readonly requestQuietly: Request = (method, params) => this.sendOrRetry(method, params, true);

  /** Whether a server process has been started in this window. */
  get hasStarted(): boolean {
    return this.generation > 0;
  }

  /** Resolves when a server of a later generation than this one accepts requests. */
  waitForRestart(generation: number): Promise<void> {
    return generation < this.generation ? Promise.resolve() : nextEvent(this.onDidStart);
  }

  /**
   * Tell the user why the server cannot be started, and offer help. There is one message at a time: if there is one
   * already, which may be hidden by now, the view is shown, which says the same.
   */
  async showFailure(): Promise<void> {
    if (this.isMessageOpen) {
      await vscode.commands.executeCommand("segue.conversations.focus");
      return;
    }
    this.isFailureShown = true;
    this.isMessageOpen = true;
    const reason = this.failure?.message ?? "The log says why.";
    const message = escapeMessage(`The Segue server cannot be started. ${reason}`);
    const choice = await vscode.window.showErrorMessage(message, "Show Log", "Copy Install Command", "Try Again");
    this.isMessageOpen = false;
    if (choice === "Show Log") {
      this.log.show();
    } else if (choice === "Copy Install Command") {
      await this.copyInstallCommand();
    } else if (choice === "Try Again") {
      await this.restart().catch(() => this.showFailure());
    }
  }

  /** Copy a shell command that installs the server for all editors. */
  async copyInstallCommand(): Promise<void> {
    await vscode.env.clipboard.writeText(buildInstallCommand(this.wheels));
  }

  /** The path of the database, or undefined if the server does not report it. Starts the server if necessary. */
  async getDatabase(): Promise<string | undefined> {
    const client = await this.ensureStarted();
    const { sessions } = client.initializeResult?.capabilities.experimental ?? {};
    return (sessions as { database?: string | null } | undefined)?.database ?? undefined;
  }

  /**
   * The command line of another command of the server's program, to be run in the folder `storage`. Makes no environment.
   * Rejects with a `NoServerError` if there is no such program.
   */
  async getOtherCommand(...other: string[]): Promise<ServerCommand> {
    const command = otherCommand(await this.findCommand(false), other);
    if (command === undefined) {
      throw new NoServerError("The setting segue.server.command has no argument `lsp`.");
    }
    return command;
  }

  /** Stop the server and start a new one. Concurrent calls restart it once. */
  restart(): Promise<void> {
    this.mayCreateEnvironment = true; // a person asks: try everything again
    this.setState("starting");
    this.restarting ??= this.stop()
      .then(() => this.ensureStarted())
      .then(() => {})
      .finally(() => (this.restarting = undefined));
    return this.restarting;
  }

  /** Stop the server. The next request starts a new one. */
  async stop(): Promise<void> {
    const client = await this.client?.catch(() => undefined);
    this.client = undefined;
    await client?.dispose();
  }

  /** Release the event emitters. Does not stop the server: see `stop`. */
  dispose(): void {
    for (const emitter of [this.started, this.failed, this.used, this.listChanged, this.appended]) {
      emitter.dispose();
    }
  }

  private async sendOrRetry<M extends Method>(method: M, params: Methods[M][0], isQuiet: boolean): Promise<Methods[M][1]> {
    try {
      return await this.send(method, params, isQuiet);
    } catch (error) {
      if (!(error instanceof ConnectionLostError) || error.generation === 0 || !RETRIABLE_METHODS.includes(method)) {
        throw error;
      }
      await Promise.race([this.waitForRestart(error.generation), nextEvent(this.failed.event)]);
      return this.send(method, params, isQuiet);
    }
  }

  private async send<M extends Method>(method: M, params: Methods[M][0], isQuiet: boolean): Promise<Methods[M][1]> {
    // What cannot be encoded looks like a lost connection to the client library. The outbox has checked its events.
    const encodable = method === "session/append" ? params : copyParams(params);
    const client = await this.ensureStarted(isQuiet);
    const generation = this.generation;
    try {
      return await client.sendRequest<Methods[M][1]>(method, encodable);
    } catch (error) {
      throw translateError(error, generation);
    }
  }

  private ensureStarted(isQuiet = false): Promise<LanguageClient> {
    this.client ??= this.start(isQuiet).catch((error: unknown) => {
      this.client = undefined;
      this.handleFailure(error);
      throw new ConnectionLostError(this.failure?.message ?? errorMessage(error), 0);
    });
    return this.client;
  }

  private async start(isQuiet: boolean): Promise<LanguageClient> {
    const command = isQuiet
      ? await this.findCommand(this.mayCreateEnvironment)
      : await vscode.window.withProgress(
          { location: vscode.ProgressLocation.Window, title: "Segue: starting" },
          () => this.resolveCommand(),
        );
    this.log.info(`Starting ${[command.command, ...command.args].join(" ")}`);
    const { client, endedEarly } = this.createClient(command);
    client.onDidChangeState(({ newState }) => {
      if (newState === State.Running) {
        this.generation += 1;
        this.isFailureShown = false;
        this.mayCreateEnvironment = true;
        this.failure = undefined;
        this.setState("running");
        this.started.fire();
      }
    });
    const on = <N extends keyof Notifications>(name: N, handle: (params: Notifications[N]) => void) =>
      client.onNotification(name, handle);
    on("session/didChangeList", () => this.listChanged.fire());
    on("session/didAppend", (appended) => this.appended.fire(appended));
    await Promise.race([client.start(), endedEarly]); // the library may wait for a process that has ended
    return client;
  }

  private resolveCommand(): Promise<ServerCommand> {
    const attempt = this.findCommand(this.mayCreateEnvironment);
    this.mayCreateEnvironment = false;
    return attempt;
  }

  private async findCommand(mayCreate: boolean): Promise<ServerCommand> {
    const settings = vscode.workspace.getConfiguration("segue");
    const database = settings.get<string>("database", "");
    const { command, args } = await resolveServerCommand({
      command: settings.get<string[]>("server.command", []),
      wheels: this.wheels,
      storage: this.storage,
      mayCreate,
      log: (line) => this.log.info(line),
    });
    return { command, args: [...args, ...(database === "" ? [] : ["--database", database])] };
  }

  /** The client, and a promise that rejects if its first process ends before it answers. */
  private createClient({ command, args }: ServerCommand): { client: LanguageClient; endedEarly: Promise<never> } {
    let isStarted = false;
    let rejectEarly: (error: Error) => void;
    const endedEarly = new Promise<never>((_, reject) => (rejectEarly = reject));
    endedEarly.catch(() => undefined);
    const ended = new Error("It ended as soon as it was started; the log has what it said.");
    const client: LanguageClient = new QuietClient(
      "segue",
      "Segue",
      // Never in the workspace: its modules must not be imported, nor its programs run.
      { command, args, options: { cwd: this.storage, env: isolatePython() }, transport: TransportKind.stdio },
      {
        outputChannel: this.log,
        errorHandler: {
          error: (error, message, count) => {
            rejectEarly(ended); // without effect later
            return defaults.error(error, message, count);
          },
          closed: async () => {
            if (!isStarted) {
              rejectEarly(ended);
              return { action: CloseAction.DoNotRestart, handled: true };
            }
            const decision = await defaults.closed();
            if (decision.action === CloseAction.DoNotRestart) {
              this.client = undefined;
              this.handleFailure(new Error(decision.message));
              if (!this.isFailureShown) {
                void this.showFailure();
              }
            }
            return { ...decision, handled: true };
          },
        },
        initializationFailedHandler: () => false,
      },
    );
    const defaults = client.createDefaultErrorHandler();
    client.onDidChangeState(({ newState }) => (isStarted ||= newState === State.Running));
    return { client, endedEarly };
  }

  private handleFailure(error: unknown): void {
    const message = errorMessage(error);
    this.log.error(message);
    // An attempt that made no environment does not know what is missing for one.
    if (this.failure?.isPythonMissing !== true || this.mayCreateEnvironment) {
      this.failure = { message, isPythonMissing: error instanceof NoServerError && error.isPythonMissing };
    }
    this.setState(this.failure.isPythonMissing ? "noPython" : "failed");
    this.failed.fire();
  }

  /** Select the message that the view "Conversations" shows when it has no rows. */
  private setState(state: "starting" | "running" | "noPython" | "failed"): void {
    void vscode.commands.executeCommand("setContext", "segue.serverState", state);
  }

  /** The extension's own folder, in which its programs run. */
  get storage(): string {
    return this.context.globalStorageUri.fsPath;
  }

  private get wheels(): string {
    return vscode.Uri.joinPath(this.context.extensionUri, "server").fsPath;
  }
}

function translateError(error: unknown, generation: number): Error {
  if (!(error instanceof ResponseError) || isConnectionError(error.code)) {
    return new ConnectionLostError(errorMessage(error), generation);
  }
  const fallback = error.code === ErrorCodes.InvalidParams ? "InvalidParams" : "Failed";
  const { kind = fallback, ...data } = (error.data ?? {}) as { kind?: string };
  return new RefusedError(error.message, kind, data);
}

function isConnectionError(code: number): boolean {
  return CONNECTION_ERRORS.first <= code && code <= CONNECTION_ERRORS.last;
}

function errorMessage(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function nextEvent(event: vscode.Event<void>): Promise<void> {
  return new Promise((resolve) => {
    const listener = event(() => {
      listener.dispose();
      resolve();
    });
  });
}

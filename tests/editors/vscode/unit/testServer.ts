// Runs a real server process over stdio for the tests, and can kill, block and restart it.

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { createMessageConnection, type MessageConnection, ResponseError } from "vscode-languageserver-protocol/node";
import { type Method, type Methods } from "../../../../editors/vscode/src/protocol.ts";
import { ConnectionLostError, RefusedError } from "../../../../editors/vscode/src/requests.ts";

/** The Python that has the server installed. */
export const PYTHON = process.env["SEGUE_PYTHON"] ?? "python3";

/** A script of Python that makes a database of another program at the path that is its argument. */
export const OTHER_PROGRAM = "import sqlite3, sys; sqlite3.connect(sys.argv[1]).execute('CREATE TABLE theirs (x)')";

/** A server process with its JSON-RPC connection. `end` it after the test. */
export class TestServer {
  /** Kill the server after the next request of this method has taken effect, before its response is delivered. */
  loseNextResponseTo: Method | undefined;
  /** Whether a process that has ended can be replaced by a new one. */
  canStart = true;
  /** Called when a new process accepts requests. */
  onStarted = () => {};
  private generation = 0;
  private waiters: (() => void)[] = [];
  private launching: Promise<void> | undefined;
  private process!: ChildProcess;
  private rpc!: MessageConnection;

  private constructor(private readonly folder: string) {}

  /** Start a server on the database in *folder*. */
  static async start(folder: string): Promise<TestServer> {
    const server = new TestServer(folder);
    await server.launch();
    return server;
  }

  /**
   * Send a request, and start the server if it is not running. Rejects with a `RefusedError` or a
   * `ConnectionLostError`, like the extension's `Server`.
   */
  async request<M extends Method>(method: M, params: Methods[M][0]): Promise<Methods[M][1]> {
    await this.ensureRunning();
    const generation = this.generation;
    try {
      const response = await this.rpc.sendRequest<Methods[M][1]>(method, params);
      if (method === this.loseNextResponseTo) {
        await this.killAndRestart();
        throw new Error("the server was killed before its response was delivered");
      }
      return response;
    } catch (error) {
      if (error instanceof ResponseError && error.code < -32_099) {
        throw new RefusedError(error.message, error.data?.kind ?? "InvalidParams", error.data);
      }
      throw new ConnectionLostError(String(error), generation);
    }
  }

  /** Resolves when a server of a later generation than this one runs. */
  waitForRestart(generation: number): Promise<void> {
    return generation < this.generation ? Promise.resolve() : new Promise((resolve) => this.waiters.push(resolve));
  }

  /** Kill the process with SIGKILL, and start a new one on the same database. */
  async killAndRestart(): Promise<void> {
    await this.kill();
    await this.ensureRunning();
  }

  /** Kill the process with SIGKILL. The next request starts a new one. */
  async kill(): Promise<void> {
    this.loseNextResponseTo = undefined;
    if (this.isRunning) {
      this.process.kill("SIGKILL");
      await once(this.process, "exit");
      this.rpc.dispose();
    }
  }

  /** Put a file that *makeOther* writes in the place of the database, as if another program's lay there. */
  async moveStoreAway(makeOther: (path: string) => void): Promise<void> {
    await this.kill();
    renameSync(this.store, `${this.store}-away`);
    mkdirSync(this.store, { mode: 0o700 });
    makeOther(this.database);
  }

  /** Undo `moveStoreAway`. */
  async moveStoreBack(): Promise<void> {
    await this.kill();
    rmSync(this.store, { recursive: true });
    renameSync(`${this.store}-away`, this.store);
  }

  /** Close the connection; resolves when the process has exited. */
  async end(): Promise<void> {
    this.canStart = false;
    await this.launching?.catch(() => {});
    if (!this.isRunning) {
      return;
    }
    const exit = once(this.process, "exit");
    this.rpc.end();
    this.process.stdin?.end();
    await exit;
    this.rpc.dispose();
  }

  private get store(): string {
    return join(this.folder, "store");
  }

  private get database(): string {
    return join(this.store, "sessions.db");
  }

  private get isRunning(): boolean {
    return this.process.exitCode === null && this.process.signalCode === null;
  }

  private async ensureRunning(): Promise<void> {
    if (!this.isRunning && this.canStart) {
      this.launching ??= this.launch().finally(() => (this.launching = undefined));
    }
    await this.launching?.catch(() => {}); // killed before it was ready
    if (!this.isRunning) {
      throw new ConnectionLostError("the server cannot be started", 0);
    }
  }

  private async launch(): Promise<void> {
    mkdirSync(this.store, { recursive: true, mode: 0o700 });
    this.process = spawn(PYTHON, ["-I", "-m", "segue", "lsp", "--database", this.database], {
      stdio: ["pipe", "pipe", "inherit"],
    });
    const { stdin, stdout } = this.process;
    if (stdin === null || stdout === null) {
      throw new Error("the server has no stdio pipes");
    }
    stdin.on("error", () => {});
    this.rpc = createMessageConnection(stdout, stdin);
    this.rpc.onError(() => {});
    this.rpc.listen();
    await this.rpc.sendRequest("initialize", { processId: process.pid, rootUri: null, capabilities: {} });
    this.generation += 1;
    this.onStarted();
    for (const resolve of this.waiters.splice(0)) {
      resolve();
    }
  }
}

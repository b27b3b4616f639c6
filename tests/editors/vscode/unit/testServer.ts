// Runs a real server process over stdio for the tests, and can kill and restart it.

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { createMessageConnection, type MessageConnection, ResponseError } from "vscode-languageserver-protocol/node";
import { type Method, type Methods } from "../../../../editors/vscode/src/protocol.ts";
import { ConnectionLostError, RefusedError } from "../../../../editors/vscode/src/requests.ts";

const PYTHON = process.env["SEGUE_PYTHON"] ?? "python3";

/** A server process with its JSON-RPC connection. `end` it after the test. */
export class TestServer {
  /** Kill the server after it has stored the next append, before its response is delivered. */
  loseNextResponse = false;
  private generation = 0;
  private waiters: (() => void)[] = [];
  private process!: ChildProcess;
  private rpc!: MessageConnection;

  private constructor(private readonly folder: string) {}

  /** Start a server on the database in *folder*. */
  static async start(folder: string): Promise<TestServer> {
    const server = new TestServer(folder);
    await server.launch();
    return server;
  }

  /** Send a request. Rejects with a `RefusedError` or a `ConnectionLostError`, like the extension's `Server`. */
  async request<M extends Method>(method: M, params: Methods[M][0]): Promise<Methods[M][1]> {
    const generation = this.generation;
    try {
      const response = await this.rpc.sendRequest<Methods[M][1]>(method, params);
      if (method === "session/append" && this.loseNextResponse) {
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
    this.loseNextResponse = false;
    this.process.kill("SIGKILL");
    await once(this.process, "exit");
    this.rpc.dispose();
    await this.launch();
    for (const resolve of this.waiters.splice(0)) {
      resolve();
    }
  }

  /** Close the connection; resolves when the process has exited. */
  async end(): Promise<void> {
    const exit = once(this.process, "exit");
    this.rpc.end();
    this.process.stdin?.end();
    await exit;
    this.rpc.dispose();
  }

  private async launch(): Promise<void> {
    const database = join(this.folder, "sessions.db");
    this.process = spawn(PYTHON, ["-m", "segue", "lsp", "--database", database], {
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
  }
}

// A real server, asked over its real stdio; it can be killed and started again.

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { createMessageConnection, type MessageConnection, ResponseError } from "vscode-languageserver-protocol/node";
import { LostError, type Method, type Methods, RefusedError } from "../../../../editors/vscode/src/protocol.ts";

const PYTHON = process.env["SEGUE_PYTHON"] ?? "python3";

export class Connection {
  /** The server dies between the next append and its answer. */
  loseNextAnswer = false;
  private run = 0;
  private waiting: (() => void)[] = [];
  private process!: ChildProcess;
  private rpc!: MessageConnection;

  private constructor(private readonly folder: string) {}

  static async start(folder: string): Promise<Connection> {
    const connection = new Connection(folder);
    await connection.begin();
    return connection;
  }

  async request<M extends Method>(method: M, params: Methods[M][0]): Promise<Methods[M][1]> {
    const run = this.run;
    try {
      const answer = await this.rpc.sendRequest<Methods[M][1]>(method, params);
      if (method === "session/append" && this.loseNextAnswer) {
        await this.killAndRestart();
        throw new Error("the server died before its answer was read");
      }
      return answer;
    } catch (error) {
      if (error instanceof ResponseError && error.code < -32_099) {
        throw new RefusedError(error.message, error.data?.kind ?? "InvalidParams", error.data);
      }
      throw new LostError(String(error), run);
    }
  }

  whenBack(run: number): Promise<void> {
    return run < this.run ? Promise.resolve() : new Promise((resolve) => this.waiting.push(resolve));
  }

  async killAndRestart(): Promise<void> {
    this.loseNextAnswer = false;
    this.process.kill("SIGKILL");
    await once(this.process, "exit");
    this.rpc.dispose();
    await this.begin();
    for (const resolve of this.waiting.splice(0)) {
      resolve();
    }
  }

  async end(): Promise<void> {
    const exit = once(this.process, "exit");
    this.rpc.end();
    this.process.stdin?.end();
    await exit;
    this.rpc.dispose();
  }

  private async begin(): Promise<void> {
    const database = join(this.folder, "sessions.db");
    this.process = spawn(PYTHON, ["-m", "segue", "lsp", "--database", database], {
      stdio: ["pipe", "pipe", "inherit"],
    });
    const { stdin, stdout } = this.process;
    if (stdin === null || stdout === null) {
      throw new Error("a server without pipes");
    }
    stdin.on("error", () => {});
    this.rpc = createMessageConnection(stdout, stdin);
    this.rpc.onError(() => {});
    this.rpc.listen();
    await this.rpc.sendRequest("initialize", { processId: process.pid, rootUri: null, capabilities: {} });
    this.run += 1;
  }
}

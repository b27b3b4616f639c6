// Keeps a program running: `segue watch`, which imports the conversations of other programs.

import { type ChildProcess, spawn } from "node:child_process";
import { isolatePython } from "./programs";
import type { ServerCommand } from "./serverCommand";

/** A program that ran for so long is started again after the shortest delay. */
const LONG_RUN_MS = 60_000;
/** The exit code of wrong arguments and settings: it would be the same the next time. */
const WRONG_COMMAND = 2;

/** How the program is run. */
export interface WatchProcessOptions {
  /** Finds the command. It may fail, and is tried again then. */
  resolve: () => Promise<ServerCommand>;
  /** Never the workspace. */
  cwd: string;
  /** Is given what the program writes on stderr, and why it ends, a line each. */
  log: (line: string) => void;
  /** The shortest and the longest time between an end and the next start, in milliseconds. */
  delays?: { min: number; max: number };
}

/** Runs the program from `start` to `stop`, and again, later and later, when it ends by itself. */
export class WatchProcess {
  private child: ChildProcess | undefined;
  private timer: NodeJS.Timeout | undefined;
  private isWanted = false;
  private delay: number;
  private readonly delays: { min: number; max: number };

  constructor(private readonly options: WatchProcessOptions) {
    this.delays = options.delays ?? { min: 5_000, max: 300_000 };
    this.delay = this.delays.min;
  }

  /** The id of the process, if it runs. */
  get pid(): number | undefined {
    return this.child?.pid;
  }

  /** Start the program. Does nothing if it is started already. */
  start(): void {
    if (!this.isWanted) {
      this.isWanted = true;
      this.delay = this.delays.min;
      void this.run();
    }
  }

  /** End the program. */
  stop(): void {
    this.isWanted = false;
    clearTimeout(this.timer);
    this.child?.stdin?.end(); // it ends with its standard input, as it does if this process is killed
    this.child?.kill();
    this.child = undefined;
  }

  private async run(): Promise<void> {
    let command: ServerCommand;
    try {
      command = await this.options.resolve();
    } catch (error) {
      this.scheduleNext(String(error), 0);
      return;
    }
    if (!this.isWanted || this.child !== undefined) {
      return;
    }
    const begun = Date.now();
    const child = spawn(command.command, command.args, {
      cwd: this.options.cwd,
      env: isolatePython(),
      stdio: ["pipe", "ignore", "pipe"],
      windowsHide: true,
    });
    this.child = child;
    child.stdin.on("error", () => {}); // it has ended
    let rest = "";
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      const lines = (rest + text).split("\n");
      rest = lines.pop() ?? "";
      lines.forEach(this.options.log);
    });
    child.once("error", (error) => this.handleEnd(child, error.message, begun, undefined));
    child.once("close", (code, signal) => this.handleEnd(child, `exit code ${code ?? signal}`, begun, code));
  }

  private handleEnd(child: ChildProcess, reason: string, begun: number, code: number | null | undefined): void {
    if (this.child !== child) {
      return; // it was stopped, or its end was handled
    }
    this.child = undefined;
    if (code === WRONG_COMMAND) {
      this.options.log(`\`segue watch\` cannot run: ${reason}`);
      return;
    }
    this.scheduleNext(reason, Date.now() - begun);
  }

  private scheduleNext(reason: string, ran: number): void {
    if (!this.isWanted) {
      return;
    }
    if (ran > LONG_RUN_MS) {
      this.delay = this.delays.min;
    }
    this.options.log(`\`segue watch\` has ended (${reason}) and is started again in ${this.delay / 1_000} s.`);
    this.timer = setTimeout(() => void this.run(), this.delay);
    this.delay = Math.min(this.delay * 2, this.delays.max);
  }
}

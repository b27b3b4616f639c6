// Runs the real `segue watch`, and programs that fail, as the extension does.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { otherCommand } from "../../../../editors/vscode/src/serverCommand.ts";
import { WatchProcess } from "../../../../editors/vscode/src/watchProcess.ts";
import { PYTHON } from "./testServer.ts";

const ENVIRONMENT = process.env;
const LIMIT_MS = 20_000;
const RECORD = {
  type: "user",
  uuid: "00000000-0000-4000-8000-000000000001",
  sessionId: "1b0f0a52-7d0a-4b0f-9d9a-000000000001",
  timestamp: "2026-11-20T10:00:00.000Z",
  message: { role: "user", content: "Mend the parser" },
};

let root: string;
let database: string;
let lines: string[];
let watch: WatchProcess;

before(() => {
  root = mkdtempSync(join(tmpdir(), "segue-"));
  database = join(root, "data", "sessions.db");
  const project = join(root, ".claude", "projects", "-p");
  mkdirSync(project, { recursive: true });
  writeFileSync(join(project, `${RECORD.sessionId}.jsonl`), `${JSON.stringify(RECORD)}\n`);
  process.env = { ...ENVIRONMENT, HOME: root, XDG_DATA_HOME: join(root, "share"), XDG_CONFIG_HOME: join(root, "config") };
  delete process.env["CLAUDE_CONFIG_DIR"];
});

afterEach(() => watch?.stop());

after(() => {
  process.env = ENVIRONMENT;
  rmSync(root, { recursive: true });
});

function run(args: string[], delays = { min: 50, max: 200 }): void {
  lines = [];
  const resolve = async () => ({ command: PYTHON, args });
  watch = new WatchProcess({ resolve, cwd: root, log: (line) => lines.push(line), delays });
  watch.start();
}

async function until<T>(get: () => T | undefined | false): Promise<T> {
  const deadline = Date.now() + LIMIT_MS;
  for (;;) {
    const value = get();
    if (value !== undefined && value !== false) {
      return value;
    }
    assert.ok(Date.now() < deadline, `timed out: ${lines.join("\n")}`);
    await sleep(20);
  }
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

test("the command line of another command has the same program and database", () => {
  const other = (...args: string[]) => otherCommand({ command: "p", args }, ["watch", "--json"])?.args;
  assert.deepEqual(other("lsp"), ["watch", "--json"]);
  assert.deepEqual(other("-I", "-m", "segue", "lsp", "--log", "debug"), ["-I", "-m", "segue", "watch", "--json"]);
  assert.deepEqual(other("lsp", "--stdio", "--database", "/d"), ["--database", "/d", "watch", "--json"]);
  assert.deepEqual(other("lsp", "--database=/d", "--stdio"), ["--database=/d", "watch", "--json"]);
  assert.equal(other("serve"), undefined);
});

test("conversations of other programs are imported until it is stopped", async () => {
  const { args } = otherCommand({ command: PYTHON, args: ["-I", "-m", "segue", "lsp", "--database", database] }, ["watch", "--json"])!;
  run(args);
  const pid = await until(() => watch.pid);
  const list = ["-I", "-m", "segue", "--database", database, "list", "--all", "--json"];
  await until(() => {
    try {
      return execFileSync(PYTHON, list, { stdio: "pipe" }).includes("Mend the parser");
    } catch {
      return false; // there is no database yet
    }
  });

  watch.stop();

  await until(() => !isRunning(pid));
  assert.deepEqual(lines, []);
});

test("a program that ends is started again, later and later", async () => {
  run(["-c", "import sys; print('why', file=sys.stderr); sys.exit(1)"]);
  await until(() => lines.filter((line) => line === "why").length === 4);
  watch.stop();
  const count = lines.length;
  await sleep(400);

  assert.equal(lines.length, count, "and not after it was stopped");
  const delays = lines.flatMap((line) => /in ([\d.]+) s/.exec(line)?.[1] ?? []).slice(0, 3);
  assert.deepEqual(delays, ["0.05", "0.1", "0.2"]);
});

test("a program that refuses its arguments is not started again", async () => {
  run(["-c", "import sys; print('no such command', file=sys.stderr); sys.exit(2)"]);
  await until(() => lines.length === 2);
  await sleep(400);
  assert.deepEqual(lines, ["no such command", "`segue watch` cannot run: exit code 2"]);
});

test("a program that cannot be started is tried again", async () => {
  lines = [];
  let count = 0;
  const resolve = async () => {
    count += 1;
    return { command: join(root, count === 1 ? "none" : "nothing"), args: [] };
  };
  watch = new WatchProcess({ resolve, cwd: root, log: (line) => lines.push(line), delays: { min: 20, max: 20 } });
  watch.start();
  await until(() => count === 3);
  assert.match(lines[0] ?? "", /ENOENT/);
});

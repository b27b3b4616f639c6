// Holds the outbox against the real server in every case of outbox_cases.json, a table that all clients share.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { Outbox } from "../../../../editors/vscode/src/outbox.ts";
import type { NewEvent } from "../../../../editors/vscode/src/protocol.ts";
import { OTHER_PROGRAM, PYTHON, TestServer } from "./testServer.ts";

/** A value of the table: JSON, or an object with the key `$` for what JSON cannot write. */
type Value = unknown;
type Expected = "waiting" | { stored?: string; refused?: string; says?: string };

interface Step {
  open?: string;
  append?: string;
  events?: { id?: string; type: string; data: { [key: string]: Value } }[];
  call?: string;
  then?: Value;
  wait?: string[];
  reset?: string;
  archive?: string;
  delete?: string;
  elsewhere?: "archive" | "delete" | "append" | "unarchive";
  session?: string;
  server?: "dies" | "dies before it answers" | "cannot start" | "can start";
  store?: "away" | "back";
}

interface Case {
  name: string;
  clients?: string[];
  steps: Step[];
  answers: { [call: string]: Expected };
  stored?: { [session: string]: string[] | null };
  archived?: string[];
  waiting?: number;
  forks?: { [fork: string]: string };
}

interface Unstorable {
  value: { $: string; depth?: number; length?: number };
  says: string;
  clients?: string[];
}

interface Table {
  cases: Case[];
  "cannot be stored": { values: Unstorable[] };
}

// The tests run in `editors/vscode`.
const TABLE: Table = JSON.parse(readFileSync("../../tests/editors/outbox_cases.json", "utf8"));
const ANSWER_TIMEOUT_MS = 20_000;
const { rawJSON } = JSON as { rawJSON?: (text: string) => unknown };

/** What JSON cannot write, by its name in the table. */
const SPECIALS: { [name: string]: (options: { depth: number; length: number; digits: number }) => unknown } = {
  NaN: () => Number.NaN,
  Infinity: () => Number.POSITIVE_INFINITY,
  "-Infinity": () => Number.NEGATIVE_INFINITY,
  function: () => () => 1,
  symbol: () => Symbol("s"),
  BigInt: () => 10n,
  Map: () => new Map([["a", 1]]),
  "undefined in a list": () => [undefined],
  "getter that raises": () => Object.defineProperty({}, "x", { enumerable: true, get: () => JSON.parse("{") }),
  "toJSON that raises": () => ({ toJSON: () => JSON.parse("{") }),
  text: ({ length }) => "x".repeat(length),
  integer: ({ digits }) => rawJSON?.("1".repeat(digits)),
  circular: () => {
    const loop: { self?: unknown } = {};
    loop.self = loop;
    return loop;
  },
  nested: ({ depth }) => {
    let list: unknown[] = [];
    for (let level = 1; level < depth; level += 1) {
      list = [list];
    }
    return list;
  },
};

function build(value: Value): unknown {
  if (Array.isArray(value)) {
    return value.map(build);
  }
  if (value === null || typeof value !== "object") {
    return value;
  }
  const fields = value as { [key: string]: Value };
  const special = fields["$"];
  return typeof special === "string"
    ? (SPECIALS[special] as (options: object) => unknown)(fields)
    : Object.fromEntries(Object.entries(fields).map(([key, field]) => [key, build(field)]));
}

/** Runs the steps of one case: the client under test, its server, and a second server as the other window. */
class Run {
  readonly answers = new Map<string, Promise<string>>();
  private readonly settled = new Map<string, { sessionId?: string; error?: Error & { kind?: string } }>();
  private readonly ids = new Map<string, string>();
  private readonly deleted: string[] = [];
  private readonly outbox: Outbox;

  constructor(
    private readonly folder: string,
    private readonly server: TestServer,
    private readonly forks: { [fork: string]: string },
  ) {
    this.outbox = new Outbox({
      request: (method, params) => server.request(method, params),
      waitForRestart: (generation) => server.waitForRestart(generation),
      onAppended: () => {},
      onForked: (oldId, { session }) => this.nameFork(oldId, session.sessionId),
      onReplaced: (oldId, { session }) => this.rename(oldId, session.sessionId),
      onDeleted: (sessionId) => this.deleted.push(sessionId),
    });
    server.onStarted = () => this.outbox.handleServerRestart();
  }

  async step(step: Step): Promise<void> {
    if (step.append !== undefined) {
      this.append(step.append, step);
    } else if (step.open !== undefined && step.reset === undefined) {
      const { session } = await this.server.request("session/open", { workspace: this.folder, mode: "new" });
      this.outbox.registerOpened(session);
      this.ids.set(step.open, session.sessionId);
    } else if (step.reset !== undefined) {
      this.ids.set(String(step.open), (await this.outbox.reset(this.idOf(step.reset))).session.sessionId);
    } else if (step.archive !== undefined) {
      await this.server.request("session/archive", { sessionId: this.idOf(step.archive) });
    } else if (step.delete !== undefined) {
      await this.outbox.delete(this.idOf(step.delete));
    } else if (step.elsewhere !== undefined) {
      await this.actElsewhere(step.elsewhere, this.idOf(String(step.session)), step.events ?? []);
    } else if (step.wait !== undefined) {
      await this.waitFor(step.wait);
    } else {
      await this.harm(step);
    }
  }

  private async waitFor(calls: string[]): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    const timeout = new Promise((resolve) => (timer = setTimeout(resolve, ANSWER_TIMEOUT_MS)));
    await Promise.race([Promise.all(calls.map((call) => this.answers.get(call))), timeout]);
    clearTimeout(timer);
  }

  check({ answers, waiting }: Case): void {
    for (const [call, expected] of Object.entries(answers)) {
      const { error, sessionId } = this.settled.get(call) ?? {};
      if (expected === "waiting") {
        assert.equal(this.settled.has(call), false, `call ${call} is answered`);
      } else if (expected.refused === undefined) {
        assert.deepEqual([error, sessionId], [undefined, this.ids.get(String(expected.stored))], `call ${call}`);
      } else {
        assert.equal(error?.kind, expected.refused, `call ${call}: ${error?.message ?? "stored or waiting"}`);
        assert.ok(error?.message.includes(expected.says ?? ""), error?.message);
      }
    }
    if (waiting !== undefined) {
      assert.equal(this.outbox.unsent.events, waiting);
    }
    assert.equal(new Set(this.deleted).size, this.deleted.length, "a deletion was said twice");
  }

  async checkStore({ stored = {}, archived, forks = {} }: Case): Promise<void> {
    for (const [name, contents] of Object.entries(stored)) {
      const reading = this.server.request("session/events", { sessionId: this.idOf(name), limit: 1_000 });
      if (contents === null) {
        await assert.rejects(reading, { kind: "SessionNotFound" });
        continue;
      }
      const { events } = await reading;
      const said = events.filter(({ type }) => type !== "system_context");
      assert.deepEqual(said.map(({ data }) => (data as { content: unknown }).content), contents, name);
    }
    const { sessions } = await this.server.request("session/list", { archived: true });
    const expected = Object.entries(stored).filter(([, contents]) => contents !== null).map(([name]) => this.idOf(name));
    assert.deepEqual(sessions.map(({ sessionId }) => sessionId).sort(), expected.sort(), "other sessions are stored");
    const ids = sessions.filter(({ archivedAt }) => archivedAt !== null).map(({ sessionId }) => sessionId);
    assert.deepEqual(ids.sort(), (archived ?? []).map((name) => this.idOf(name)).sort(), "archived");
    const origins = sessions.filter(({ forkedFrom }) => forkedFrom !== null).map((each) => [each.sessionId, each.forkedFrom]);
    const expectedOrigins = Object.entries(forks).map((names) => names.map((name) => this.idOf(name)));
    assert.deepEqual(origins.sort(), expectedOrigins.sort(), "forks");
  }

  private append(name: string, { events = [], call = "", then }: Step): void {
    const built = build(events) as NewEvent[];
    const answer = this.outbox.append(this.idOf(name), built).then(
      ({ sessionId }) => this.settled.set(call, { sessionId }),
      (error: Error) => this.settled.set(call, { error }),
    );
    this.answers.set(call, answer.then(() => call));
    if (then !== undefined && built[0] !== undefined) {
      built[0].data["content"] = build(then);
    }
  }

  private async actElsewhere(what: string, sessionId: string, events: NewEvent[]): Promise<void> {
    const other = await TestServer.start(this.folder);
    if (what === "append") {
      await other.request("session/open", { sessionId });
      await other.request("session/append", { sessionId, events });
    } else {
      await other.request(`session/${what}` as "session/archive", { sessionId });
    }
    await other.end();
  }

  private async harm({ server, store }: Step): Promise<void> {
    if (server === "dies before it answers") {
      this.server.loseNextResponseTo = "session/append";
    } else if (server === "dies") {
      await this.server.kill();
    } else if (server === "cannot start") {
      this.server.canStart = false;
      await this.server.kill();
    } else if (server === "can start") {
      this.server.canStart = true;
      this.outbox.retryNow();
    } else if (store === "away") {
      await this.server.moveStoreAway((path) => execFileSync(PYTHON, ["-I", "-c", OTHER_PROGRAM, path]));
      await sleep(700); // at least one attempt
    } else if (store === "back") {
      await this.server.moveStoreBack();
      this.outbox.retryNow();
    } else {
      throw new Error("unknown step");
    }
  }

  private idOf(name: string): string {
    const id = this.ids.get(name);
    assert.ok(id, name);
    return id;
  }

  private nameFork(originalId: string, forkId: string): void {
    const fork = Object.keys(this.forks).find((name) => this.ids.get(this.forks[name] ?? "") === originalId);
    assert.ok(fork !== undefined && !this.ids.has(fork), "a fork that is not expected");
    this.ids.set(fork, forkId);
  }

  private rename(oldId: string, newId: string): void {
    for (const [name, id] of this.ids) {
      if (id === oldId) {
        this.ids.set(name, newId);
      }
    }
  }
}

const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

async function runCase(each: Case): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "segue-"));
  const server = await TestServer.start(folder);
  try {
    const run = new Run(folder, server, each.forks ?? {});
    for (const step of each.steps) {
      await run.step(step);
    }
    run.check(each);
    if (each.stored !== undefined) {
      await run.checkStore(each);
    }
  } finally {
    await server.end();
    rmSync(folder, { recursive: true });
  }
}

/** One case of all values that cannot be stored: a call with each of them, and a call after it. */
function toCase(values: readonly Unstorable[]): Case {
  const calls = values.map(({ value, says }, index) => ({ value, says, bad: `bad ${index}`, after: `after ${index}` }));
  const steps = calls.flatMap(({ value, bad, after }): Step[] => [
    { append: "a", events: [{ type: "note", data: { n: value } }], call: bad },
    { append: "a", events: [{ type: "user_message", data: { content: after } }], call: after },
  ]);
  const names = calls.flatMap(({ bad, after }) => [bad, after]);
  return {
    name: "what cannot be stored is refused, and the next call goes on",
    steps: [{ open: "a" }, ...steps, { wait: names }],
    answers: Object.fromEntries(
      calls.flatMap(({ bad, after, says }): [string, Expected][] => [
        [bad, { refused: "InvalidParams", says }],
        [after, { stored: "a" }],
      ]),
    ),
    stored: { a: calls.map(({ after }) => after) },
    waiting: 0,
  };
}

const isOurs = ({ clients }: { clients?: string[] }) => clients === undefined || clients.includes("vscode");
const unstorable = TABLE["cannot be stored"].values
  .filter(isOurs)
  .filter(({ value }) => value.$ !== "integer" || rawJSON !== undefined);

for (const each of [...TABLE.cases.filter(isOurs), toCase(unstorable)]) {
  test(each.name, () => runCase(each));
}

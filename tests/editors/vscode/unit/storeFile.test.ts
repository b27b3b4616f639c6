import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, test } from "node:test";
import { mayHaveStore } from "../../../../editors/vscode/src/storeFile.ts";

let home: string;

beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), "segue-store-"));
});

afterEach(() => rmSync(home, { recursive: true }));

const may = (environment: NodeJS.ProcessEnv = {}, platform: NodeJS.Platform = "linux", setting = "") =>
  mayHaveStore(setting, { platform, environment, home });

function create(...names: string[]): void {
  const path = join(home, ...names);
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, "");
}

test("a user without a database and settings has no store", () => {
  assert.equal(may(), false);
  assert.equal(may({}, "darwin"), false);
  assert.equal(may({ XDG_DATA_HOME: join(home, "data"), XDG_CONFIG_HOME: join(home, "config"), SEGUE_DATABASE: "" }), false);
});

test("a database is found where the server has it, and a file of settings may name another", () => {
  for (const [platform, ...path] of [
    ["linux", ".local/share", "segue", "sessions.db"],
    ["linux", ".config", "segue", "config.toml"],
    ["darwin", "Library/Application Support", "segue", "sessions.db"],
    ["darwin", "Library/Application Support", "segue", "config.toml"],
  ] as const) {
    create(...path);
    assert.equal(may({}, platform), true, path.join());
    rmSync(join(home, path[0]), { recursive: true });
  }
});

test("a variable leads to another folder, unless it is no absolute path", () => {
  create("data", "segue", "sessions.db");
  assert.equal(may({ XDG_DATA_HOME: join(home, "data") }), true);
  assert.equal(may({ XDG_DATA_HOME: "data" }), false);
  assert.equal(may({ XDG_CONFIG_HOME: join(home, "data") }), false);
  create(".local/share", "segue", "sessions.db");
  assert.equal(may({ XDG_DATA_HOME: "data" }), true);
});

test("where only the server knows, there may be a store", () => {
  assert.equal(may({ SEGUE_DATABASE: "/nowhere/sessions.db" }), true);
  assert.equal(may({}, "linux", "/nowhere/sessions.db"), true);
  assert.equal(may({ SNAP: "/snap/code/1" }), true);
  assert.equal(may({ FLATPAK_ID: "com.visualstudio.code" }), true);
  assert.equal(may({}, "win32"), true);
});

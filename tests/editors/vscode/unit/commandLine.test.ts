import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { buildLaunch, formatCommandLine } from "../../../../editors/vscode/src/commandLine.ts";

const COMMAND = ["claude", "--resume", "1b0f0a52-7d0a"];

test("a program starts without a shell, with its arguments as they are", () => {
  const launch = buildLaunch(["claude", "--resume", "$(id); a b"], (name) => `/opt/it's here/${name}`);
  assert.deepEqual(launch, { shellPath: "/opt/it's here/claude", shellArgs: ["--resume", "$(id); a b"] });
  assert.equal(buildLaunch(COMMAND, () => undefined), undefined);
});

test("a script of cmd.exe starts with it, unless it would interpret something", () => {
  const find = () => "C:\\Program Files\\nodejs\\claude.cmd";
  assert.deepEqual(buildLaunch(COMMAND, find), {
    shellPath: process.env["ComSpec"] ?? "cmd.exe",
    shellArgs: '/d /s /c ""C:\\Program Files\\nodejs\\claude.cmd" --resume 1b0f0a52-7d0a"',
  });
  for (const id of ["a b", "a&calc", "%PATH%", '"', "a\n", ""]) {
    assert.equal(buildLaunch(["claude", "--resume", id], find), undefined, JSON.stringify(id));
  }
  assert.equal(buildLaunch(COMMAND, () => "C:\\%TEMP%\\claude.cmd"), undefined);
});

test("a line that is pasted into a shell starts the command in the folder, whatever that is called", () => {
  const root = mkdtempSync(join(tmpdir(), "segue-"));
  try {
    writeFileSync(join(root, "claude"), '#!/bin/sh\npwd\nprintf "%s\\n" "$@"\n', { mode: 0o755 });
    for (const name of ["plain", "it's here", 'a "b" $HOME `id` \\ c', "two\nlines"]) {
      const directory = join(root, name);
      mkdirSync(directory);
      const line = formatCommandLine(COMMAND, directory, "/bin/sh");
      const env = { PATH: `${root}:/usr/bin:/bin` };
      assert.equal(execFileSync("/bin/sh", ["-c", line], { env }).toString(), `${directory}\n--resume\n1b0f0a52-7d0a\n`);
    }
  } finally {
    rmSync(root, { recursive: true });
  }
});

test("the line is for the shell that the user has", () => {
  const lineFor = (shell: string) => formatCommandLine(COMMAND, "C:\\it's here", shell);
  const command = COMMAND.join(" ");
  assert.equal(lineFor("C:\\Windows\\System32\\WindowsPowerShell\\v1.0\\powershell.exe"), `Set-Location -LiteralPath 'C:\\it''s here'; ${command}`);
  assert.equal(lineFor("/usr/bin/pwsh"), `Set-Location -LiteralPath 'C:\\it''s here'; ${command}`);
  assert.equal(lineFor("C:\\WINDOWS\\system32\\cmd.exe"), `cd /d "C:\\it's here" && ${command}`);
  assert.equal(lineFor("C:\\Program Files\\Git\\bin\\bash.exe"), `cd 'C:\\it'\\''s here' && ${command}`);
});

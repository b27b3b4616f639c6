// Makes real environments with a real Python from a small wheel, and harms them.

import assert from "node:assert/strict";
import { execFileSync, spawn, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { chmodSync, copyFileSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, symlinkSync, utimesSync, writeFileSync } from "node:fs";
import { hostname, tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, afterEach, before, beforeEach, test } from "node:test";
import { setTimeout } from "node:timers/promises";
import { isolatePython } from "../../../../editors/vscode/src/programs.ts";
import { resolveServerCommand } from "../../../../editors/vscode/src/serverCommand.ts";
import { PYTHON } from "./testServer.ts";

const BASE_PYTHON = execFileSync(PYTHON, ["-I", "-c", "import sys; print(sys._base_executable)"]).toString().trim();
/** Writes wheels: `segue`, which has a version, one that fits no machine, and the package that compares their tags. */
const MAKE_WHEELS = `
import packaging, pathlib, sys, zipfile
folder = pathlib.Path(sys.argv[1])
info = "segue-9.9.9.dist-info/"
with zipfile.ZipFile(folder / "segue-9.9.9-py3-none-any.whl", "w") as wheel:
    wheel.writestr("segue/__init__.py", "")
    wheel.writestr("segue/__main__.py", "print('segue 9.9.9')")
    wheel.writestr("segue-9.9.9.data/scripts/segue", "#!/bin/sh\\necho script 9.9.9\\n")
    wheel.writestr(info + "METADATA", "Metadata-Version: 2.1\\nName: segue\\nVersion: 9.9.9\\n")
    wheel.writestr(info + "WHEEL", "Wheel-Version: 1.0\\nGenerator: tests\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
    wheel.writestr(info + "RECORD", "")
with zipfile.ZipFile(folder / "other-1.0-cp27-cp27m-macosx_10_6_ppc.whl", "w") as wheel:
    wheel.writestr("other.py", "")
with zipfile.ZipFile(folder / "packaging-1.0-py3-none-any.whl", "w") as wheel:
    for path in pathlib.Path(packaging.__file__).parent.glob("*.py"):
        wheel.write(path, f"packaging/{path.name}")
`;
/** The faster way to make an environment; without it, pip does. */
const UV = join(dirname(PYTHON), "uv");
const ENVIRONMENT = process.env;

let root: string;
let wheels: string;
let storage: string;
let log: string[];

before(() => {
  root = mkdtempSync(join(tmpdir(), "segue-"));
  wheels = makeFolder("wheels");
  execFileSync(PYTHON, ["-I", "-c", MAKE_WHEELS, wheels]);
  copyFileSync("install_server.py", join(wheels, "install_server.py"));
  const sums = readdirSync(wheels).sort().map((name) => `${hash(join(wheels, name))}  ${name}\n`);
  writeFileSync(join(wheels, "SHA256SUMS"), sums.join(""));
});

after(() => rmSync(root, { recursive: true }));

beforeEach(() => {
  storage = mkdtempSync(join(root, "storage-"));
  log = [];
  process.env = { ...ENVIRONMENT, PATH: makePath({ python3: BASE_PYTHON, uv: UV }) };
});

afterEach(() => {
  process.env = ENVIRONMENT;
});

function makeFolder(...names: string[]): string {
  const path = join(root, ...names);
  mkdirSync(path, { recursive: true });
  return path;
}

/** A folder for the PATH with links to these programs; a text is a shell script instead. */
function makePath(programs: { [name: string]: string }): string {
  const folder = mkdtempSync(join(root, "bin-"));
  for (const [name, program] of Object.entries(programs)) {
    if (program.startsWith("#!")) {
      writeFileSync(join(folder, name), program);
      chmodSync(join(folder, name), 0o755);
    } else {
      symlinkSync(program, join(folder, name));
    }
  }
  return folder;
}

function hash(path: string): string {
  return createHash("sha256").update(readFileSync(path)).digest("hex");
}

const computeStamp = () => hash(join(wheels, "SHA256SUMS")).slice(0, 16);

const resolve = (mayCreate = true) =>
  resolveServerCommand({ command: [], wheels, storage, mayCreate, log: (line) => log.push(line) });

/** Find the command, check that it runs, and return its program. */
async function resolveRunning(): Promise<string> {
  const { command, args } = await resolve();
  const { status, stdout } = spawnSync(command, args, { cwd: storage, encoding: "utf8" });
  assert.deepEqual([status, stdout.trim()], [0, "segue 9.9.9"], log.join("\n"));
  return command;
}

const folderOf = (python: string) => dirname(dirname(python));

test("an environment is made once, in one step, and nothing else is left", async () => {
  const python = await resolveRunning();
  const made = statSync(join(folderOf(python), "pyvenv.cfg")).ino;
  assert.equal(await resolveRunning(), python);
  assert.equal(statSync(join(folderOf(python), "pyvenv.cfg")).ino, made);
  assert.deepEqual(readdirSync(storage), [`server-${process.platform}-${process.arch}-${computeStamp()}`]);
});

const HARMS: { [name: string]: (python: string) => void } = {
  "its Python is gone": (python) => {
    rmSync(python);
    symlinkSync("/opt/python-that-was-upgraded/bin/python3", python);
  },
  "its Python has another version, without the server": (python) => {
    const packages = join(folderOf(python), "lib");
    rmSync(packages, { recursive: true });
  },
  "its Python is for another platform": (python) => {
    rmSync(python);
    writeFileSync(python, "\u007fELF other platform", { mode: 0o755 });
  },
  "it is half made": (python) => rmSync(join(folderOf(python), "bin"), { recursive: true }),
  "its Python does nothing but fail": (python) => {
    rmSync(python);
    symlinkSync("/bin/false", python);
  },
};

test("an environment that does not run is made anew, or the next way is taken", async () => {
  for (const [name, harm] of Object.entries(HARMS)) {
    const python = await resolveRunning();
    harm(python);
    await assert.rejects(resolve(false), /private environment cannot be used/, name);
    assert.equal(await resolveRunning(), python, name);
    assert.equal(readdirSync(storage).length, 1, name);
  }
  rmSync(await resolveRunning());
  process.env["PATH"] = makePath({ segue: "#!/bin/sh\necho segue 9.9.9\n" });
  assert.equal(await resolveRunning(), join(process.env["PATH"] ?? "", "segue"));
});

test("wheels with other hashes are not installed", async () => {
  const wheel = join(wheels, "segue-9.9.9-py3-none-any.whl");
  const original = readFileSync(wheel);
  writeFileSync(wheel, Buffer.concat([original, Buffer.from(" ")]));
  try {
    await assert.rejects(resolve(), /other hashes/);
    rmSync(wheel);
    await assert.rejects(resolve(), /other hashes/);
    writeFileSync(wheel, original);
    writeFileSync(join(wheels, "another-1.0-py3-none-any.whl"), original);
    await assert.rejects(resolve(), /other hashes/);
    assert.deepEqual(readdirSync(storage), []);
  } finally {
    writeFileSync(wheel, original);
    rmSync(join(wheels, "another-1.0-py3-none-any.whl"), { force: true });
  }
});

test("one wheel of each package is installed that fits, and what has none is named", async () => {
  const python = await resolveRunning();
  assert.equal(execFileSync(join(dirname(python), "segue"), { encoding: "utf8" }), "script 9.9.9\n");
  const find = "import sysconfig; print(sysconfig.get_path('purelib'))";
  const packages = readdirSync(execFileSync(python, ["-I", "-c", find], { encoding: "utf8" }).trim());
  assert.deepEqual(packages.filter((name) => !name.startsWith("_")).sort(), ["segue", "segue-9.9.9.dist-info"]);
  assert.ok(log.includes("other: no wheel fits this machine"), log.join("\n"));
});

test("a command on the PATH that does not run is not used", async () => {
  process.env["PATH"] = makePath({ segue: "#!/opt/python-that-was-upgraded/bin/python3\n" });
  await assert.rejects(resolve(), /`segue` on the PATH cannot be used/);
});

test("a relative folder of the PATH is not searched", async () => {
  process.env["PATH"] = `.:${makePath({})}`;
  writeFileSync("segue", "#!/bin/sh\n", { mode: 0o755 });
  try {
    await assert.rejects(resolve(), /There is no command `segue` on the PATH\./);
  } finally {
    rmSync("segue");
  }
});

/** Make a folder in the storage, with a mark of this process on this computer, or of another one. */
function makeEnvironment(name: string, ...marks: [owner: number, host: string][]): string {
  const folder = join(storage, name);
  mkdirSync(folder);
  for (const [owner, host] of marks) {
    writeFileSync(join(folder, `used-by-${owner}`), host);
  }
  return folder;
}

const OLD = "server-linux-x64-0123456789abcdef";
/** No process has this id. */
const NOBODY = 0x7fff_fffe;

/** Resolves when the storage has only these folders beside the environment. */
async function waitForFolders(python: string, ...names: string[]): Promise<void> {
  const others = () => readdirSync(storage).filter((name) => !python.includes(name)).sort();
  for (let wait = 0; wait < 100 && others().join() !== names.join(); wait += 1) {
    await setTimeout(50);
  }
  assert.deepEqual(others(), names, log.join("\n"));
}

test("old environments and drafts are removed, unless somebody uses them, and nothing else", async () => {
  const longAgo = new Date(Date.now() - 2 * 3_600_000);
  makeEnvironment(OLD, [NOBODY, hostname()]);
  makeEnvironment("server-0123456789abcdef");
  makeEnvironment("server-linux-x64-1123456789abcdef", [NOBODY, hostname()], [process.pid, hostname()]);
  makeEnvironment("server-linux-x64-2123456789abcdef", [NOBODY, "another computer"]);
  const abandoned = makeEnvironment("server-linux-x64-3123456789abcdef", [NOBODY, "another computer"]);
  const tenDaysAgo = new Date(Date.now() - 10 * 24 * 3_600_000);
  utimesSync(join(abandoned, `used-by-${NOBODY}`), tenDaysAgo, tenDaysAgo);
  makeEnvironment("server-notes");
  utimesSync(makeEnvironment("making-old"), longAgo, longAgo);
  makeEnvironment("making-new");
  const python = await resolveRunning();
  await waitForFolders(python, "making-new", "server-linux-x64-1123456789abcdef", "server-linux-x64-2123456789abcdef", "server-notes");
});

test("an environment that another window used at the update is removed after a later start", async () => {
  const python = await resolveRunning();
  const other = spawn(process.execPath, ["-e", "setInterval(() => {}, 1000)"]);
  makeEnvironment(OLD, [other.pid ?? 0, hostname()]);
  await resolveRunning();
  await waitForFolders(python, OLD);
  other.kill("SIGKILL");
  await once(other, "exit");
  await resolveRunning();
  await waitForFolders(python);
});

test("what cannot be removed is logged, and the server starts", async () => {
  writeFileSync(join(storage, OLD), "a file in the place of a folder");
  makeEnvironment("server-linux-x64-1123456789abcdef");
  const python = await resolveRunning();
  await waitForFolders(python, OLD);
  assert.ok(log.some((line) => line.startsWith(`Cannot remove ${join(storage, OLD)}: `)), log.join("\n"));
});

test("the marks of windows that have ended are removed", async () => {
  const folder = folderOf(await resolveRunning());
  writeFileSync(join(folder, `used-by-${NOBODY}`), hostname());
  await resolveRunning();
  while (existsSync(join(folder, `used-by-${NOBODY}`))) {
    await setTimeout(50);
  }
  assert.ok(existsSync(join(folder, `used-by-${process.pid}`)));
});

test("variables and settings of the workspace influence neither the making nor the server", async () => {
  const hostile = makeFolder("workspace");
  const marker = join(hostile, "imported");
  for (const name of ["segue.py", "packaging.py", "venv.py", "site.py", "sitecustomize.py", "encodings.py"]) {
    writeFileSync(join(hostile, name), `open(${JSON.stringify(marker)}, "w")\n`);
  }
  writeFileSync(join(hostile, "uv.toml"), "nonsense = [");
  Object.assign(process.env, {
    PYTHONPATH: hostile,
    PYTHONHOME: hostile,
    PYTHONUSERBASE: hostile,
    PYTHONSTARTUP: join(hostile, "segue.py"),
    UV_CONFIG_FILE: join(hostile, "uv.toml"),
    UV_REQUIRE_HASHES: "1",
    UV_TARGET: join(hostile, "target"),
    XDG_CONFIG_DIRS: hostile,
    VIRTUAL_ENV: hostile,
  });
  for (const programs of [{ python3: BASE_PYTHON }, { python3: BASE_PYTHON, uv: UV }]) {
    rmSync(storage, { recursive: true });
    log.length = 0;
    process.env["PATH"] = makePath(programs);
    const { command, args } = await resolve();
    assert.equal(spawnSync(command, args, { cwd: storage, env: isolatePython(), encoding: "utf8" }).stdout.trim(), "segue 9.9.9", log.join("\n"));
    assert.deepEqual([existsSync(marker), existsSync(join(hostile, "target"))], [false, false]);
    assert.equal(log.some((line) => line.startsWith("uv ")), !("uv" in programs), log.join("\n"));
  }
  assert.deepEqual(Object.keys(isolatePython()).filter((name) => name.startsWith("PYTHON")), []);
  assert.equal(isolatePython()["PATH"], process.env["PATH"]);
});

// Makes real environments with a real Python from a small wheel, and harms them.

import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, symlinkSync, utimesSync, writeFileSync } from "node:fs";
import { hostname, tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, afterEach, before, beforeEach, test } from "node:test";
import { isolatePython } from "../../../../editors/vscode/src/programs.ts";
import { resolveServerCommand } from "../../../../editors/vscode/src/serverCommand.ts";
import { PYTHON } from "./testServer.ts";

const BASE_PYTHON = execFileSync(PYTHON, ["-I", "-c", "import sys; print(sys._base_executable)"]).toString().trim();
/** Writes a wheel whose module `segue` has a version, and copies the pip that Python contains. */
const MAKE_WHEELS = `
import ensurepip, pathlib, shutil, sys, zipfile
folder = pathlib.Path(sys.argv[1])
info = "segue-9.9.9.dist-info/"
with zipfile.ZipFile(folder / "segue-9.9.9-py3-none-any.whl", "w") as wheel:
    wheel.writestr("segue/__init__.py", "")
    wheel.writestr("segue/__main__.py", "print('segue 9.9.9')")
    wheel.writestr(info + "METADATA", "Metadata-Version: 2.1\\nName: segue\\nVersion: 9.9.9\\n")
    wheel.writestr(info + "WHEEL", "Wheel-Version: 1.0\\nGenerator: tests\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
    wheel.writestr(info + "RECORD", "")
for pip in (pathlib.Path(ensurepip.__file__).parent / "_bundled").glob("pip-*.whl"):
    shutil.copy(pip, folder)
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
  execFileSync(BASE_PYTHON, ["-I", "-c", MAKE_WHEELS, wheels]);
  writeFileSync(join(wheels, "stamp"), `${computeStamp()}\n`);
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

function computeStamp(): string {
  const digest = createHash("sha256");
  for (const name of readdirSync(wheels).filter((each) => each.endsWith(".whl")).sort()) {
    digest.update(name).update(createHash("sha256").update(readFileSync(join(wheels, name))).digest());
  }
  return digest.digest("hex").slice(0, 16);
}

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
    assert.deepEqual(readdirSync(storage), []);
  } finally {
    writeFileSync(wheel, original);
  }
});

test("a command on the PATH that does not run is not used", async () => {
  process.env["PATH"] = makePath({ segue: "#!/opt/python-that-was-upgraded/bin/python3\n" });
  await assert.rejects(resolve(), /`segue` on the PATH cannot be used/);
});

test("a relative folder of the PATH is not searched", async () => {
  process.env["PATH"] = `.:${makePath({})}`;
  writeFileSync("segue", "#!/bin/sh\n", { mode: 0o755 });
  try {
    await assert.rejects(resolve(), /on the PATH cannot be used: there is none\./);
  } finally {
    rmSync("segue");
  }
});

test("old environments and drafts are removed, unless somebody uses them", async () => {
  const longAgo = new Date(Date.now() - 2 * 3_600_000);
  for (const [name, owner] of Object.entries({ "server-old": 0, "server-used": process.pid, "making-old": 0, "making-new": 0 })) {
    mkdirSync(join(storage, name));
    if (owner !== 0) {
      writeFileSync(join(storage, name, `used-by-${owner}`), hostname());
    }
    if (name === "making-old") {
      utimesSync(join(storage, name), longAgo, longAgo);
    }
  }
  const python = await resolveRunning();
  const names = readdirSync(storage).filter((name) => !python.includes(name));
  assert.deepEqual(names.sort(), ["making-new", "server-used"]);
});

test("variables and settings of the workspace influence neither the making nor the server", async () => {
  const hostile = makeFolder("workspace");
  const marker = join(hostile, "imported");
  for (const name of ["segue.py", "pip.py", "venv.py", "site.py", "sitecustomize.py", "encodings.py"]) {
    writeFileSync(join(hostile, name), `open(${JSON.stringify(marker)}, "w")\n`);
  }
  mkdirSync(join(hostile, "pip"));
  writeFileSync(join(hostile, "pip", "pip.conf"), `[global]\ntarget = ${hostile}/target\n`);
  writeFileSync(join(hostile, "uv.toml"), "nonsense = [");
  Object.assign(process.env, {
    PYTHONPATH: hostile,
    PYTHONHOME: hostile,
    PYTHONUSERBASE: hostile,
    PYTHONSTARTUP: join(hostile, "segue.py"),
    PIP_CONFIG_FILE: join(hostile, "pip", "pip.conf"),
    PIP_TARGET: join(hostile, "target"),
    PIP_REQUIRE_VIRTUALENV: "1",
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
    assert.equal(log.some((line) => line.startsWith("uv cannot")), !("uv" in programs), log.join("\n"));
  }
  assert.deepEqual(Object.keys(isolatePython()).filter((name) => name.startsWith("PYTHON")), []);
  assert.equal(isolatePython()["PATH"], process.env["PATH"]);
});

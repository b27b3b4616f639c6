// The private environment of the bundled server: a virtual environment in the extension's own folder. It leans on a
// Python that can be upgraded, moved or removed, so it is tried before each use.

import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { mkdtemp, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { hostname } from "node:os";
import { join } from "node:path";
import { describeError, findOnPath, ISOLATED, run, WINDOWS } from "./programs";

const PYTHONS = ["python3", "python", "python3.14", "python3.13", "python3.12", "python3.11"];
const CHECK_TIMEOUT_MS = 10_000;
const INSTALL_TIMEOUT_MS = 180_000;
/** Prefixes of the folders in the storage. Each is followed by what it is for. */
const ENVIRONMENT = "server-";
const DRAFT = "making-";
const USED_BY = "used-by-";
/** A computer that shares this folder is trusted to use an environment for so long after it has started it. */
const REMOTE_USE_MS = 7 * 24 * 3_600_000;
/** A draft without a live owner is left alone for so long: it may be another computer's. */
const DRAFT_AGE_MS = 3_600_000;

/** Where the environment is, and what it is made from. */
export interface EnvironmentOptions {
  /** The folder of the bundled wheels; it need not exist. */
  wheels: string;
  /** The extension's own folder, in which the private environment is created. */
  storage: string;
  /** Whether an environment that is missing or does not run is made anew. */
  mayCreate: boolean;
  log: (line: string) => void;
}

/** The environment cannot be used or made. The message says why. */
export class EnvironmentError extends Error {}

/** There is no Python to make it with. */
export class NoPythonError extends EnvironmentError {}

/** Whether this extension contains a server. */
export function hasBundledServer(wheels: string): boolean {
  return existsSync(join(wheels, "stamp"));
}

/**
 * Return the Python of an environment in which the bundled server was seen to run. Makes the environment if there is
 * none, and makes it anew if it does not run. Rejects with an `EnvironmentError` if that fails.
 */
export async function ensureEnvironment(options: EnvironmentOptions): Promise<string> {
  const { storage, wheels, log } = options;
  const stamp = readFileSync(join(wheels, "stamp"), "utf8").trim();
  // A folder that is synchronized or shared may hold environments of several platforms.
  const folder = join(storage, `${ENVIRONMENT}${process.platform}-${process.arch}-${stamp}`);
  const fault = existsSync(folder) ? await findFault(pythonPath(folder), storage) : "there is none yet";
  if (fault !== undefined) {
    log(`The private environment cannot be used: ${fault}`);
    if (!options.mayCreate) {
      throw new EnvironmentError(`The private environment cannot be used: ${fault}`);
    }
    checkWheels(wheels, stamp);
    await replaceEnvironment(folder, options);
  }
  await writeFile(join(folder, `${USED_BY}${process.pid}`), hostname());
  if (fault !== undefined) {
    await removeOthers(folder, storage).catch((error: unknown) => log(describeError(error)));
  }
  return pythonPath(folder);
}

/** Why the server of *python* does not run, or undefined if it does. */
export async function findFault(python: string, cwd: string): Promise<string | undefined> {
  return findFaultOf(python, [ISOLATED, "-m", "segue"], cwd);
}

/** Why this command of a server does not run, or undefined if it does. */
export async function findFaultOf(program: string, args: readonly string[], cwd: string): Promise<string | undefined> {
  try {
    await run(program, [...args, "--version"], { cwd, timeout: CHECK_TIMEOUT_MS });
    return undefined;
  } catch (error) {
    return describeError(error);
  }
}

/** Throw unless the wheels are those that the extension was packaged with. */
function checkWheels(wheels: string, stamp: string): void {
  const digest = createHash("sha256");
  for (const name of readdirSync(wheels).filter((each) => each.endsWith(".whl")).sort()) {
    digest.update(name).update(createHash("sha256").update(readFileSync(join(wheels, name))).digest());
  }
  if (digest.digest("hex").slice(0, stamp.length) !== stamp || stamp.length < 16) {
    throw new EnvironmentError("The server in this extension is damaged: its files have other hashes. Install the extension again.");
  }
}

async function replaceEnvironment(folder: string, options: EnvironmentOptions): Promise<void> {
  const draft = await mkdtemp(join(options.storage, `${DRAFT}${process.pid}-`));
  try {
    await writeFile(join(draft, `${USED_BY}${process.pid}`), hostname());
    await createEnvironment(draft, options);
    const fault = await findFault(pythonPath(draft), options.storage);
    if (fault !== undefined) {
      throw new EnvironmentError(`The new private environment does not run: ${fault}`);
    }
    await publish(draft, folder, options.storage);
  } finally {
    await rm(draft, { recursive: true, force: true });
  }
}

/** Put a complete environment in its place, atomically. If another window was first, its environment is kept. */
async function publish(draft: string, folder: string, storage: string): Promise<void> {
  try {
    await rename(draft, folder);
  } catch (error) {
    if (!existsSync(folder)) {
      throw error;
    }
    if ((await findFault(pythonPath(folder), storage)) !== undefined) {
      const broken = `${draft}-broken`;
      await rename(folder, broken);
      await rename(draft, folder);
      await rm(broken, { recursive: true, force: true });
    }
  }
}

/** Remove environments of other versions and drafts of other processes, unless somebody may still use them. */
async function removeOthers(folder: string, storage: string): Promise<void> {
  for (const name of readdirSync(storage)) {
    const other = join(storage, name);
    const isOld = name.startsWith(ENVIRONMENT) && other !== folder;
    const isDraft = name.startsWith(DRAFT) && Date.now() - (await stat(other)).mtimeMs > DRAFT_AGE_MS;
    if ((isOld || isDraft) && !(await isUsed(other))) {
      await rm(other, { recursive: true, force: true });
    }
  }
}

async function isUsed(folder: string): Promise<boolean> {
  for (const name of readdirSync(folder).filter((each) => each.startsWith(USED_BY))) {
    const marker = join(folder, name);
    const isHere = (await readFile(marker, "utf8")) === hostname();
    const isAlive = isHere
      ? isRunning(Number(name.slice(USED_BY.length)))
      : Date.now() - (await stat(marker)).mtimeMs < REMOTE_USE_MS;
    if (isAlive) {
      return true;
    }
  }
  return false;
}

function isRunning(processId: number): boolean {
  try {
    process.kill(processId, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}

async function createEnvironment(folder: string, options: EnvironmentOptions): Promise<void> {
  try {
    await createWithUv(folder, options);
  } catch (error) {
    options.log(`uv cannot create the environment: ${describeError(error)}`);
    await createWithPython(folder, options);
  }
}

async function createWithUv(folder: string, { storage, wheels }: EnvironmentOptions): Promise<void> {
  const program = findOnPath("uv");
  if (program === undefined) {
    throw new EnvironmentError("there is no uv on the PATH");
  }
  // Every package is in the extension: neither the network nor any configuration of uv is needed.
  const uv = (...args: string[]) => run(program, [...args, "--offline", "--no-config"], { cwd: storage, timeout: INSTALL_TIMEOUT_MS });
  await uv("venv", "--allow-existing", "--python", ">=3.11", "--no-python-downloads", folder);
  await uv("pip", "install", "--python", pythonPath(folder), "--no-index", "--find-links", wheels, "segue");
}

async function createWithPython(folder: string, { storage, wheels, log }: EnvironmentOptions): Promise<void> {
  const python = await findPython(storage);
  const options = { cwd: storage, timeout: INSTALL_TIMEOUT_MS };
  // Without pip: Debian's Python lacks ensurepip. The bundled pip is used instead.
  await run(python, [ISOLATED, "-m", "venv", "--without-pip", "--clear", folder], options);
  const names = readdirSync(wheels).filter((name) => name.endsWith(".whl"));
  const pip = join(wheels, names.find((name) => name.startsWith("pip-")) ?? "pip", "pip");
  const pipInstall = [ISOLATED, pip, "install", "--isolated", "--quiet", "--no-index", "--find-links", wheels];
  const install = (...packages: string[]) => run(pythonPath(folder), [...pipInstall, ...packages], options);
  try {
    await install("segue");
  } catch (error) {
    // No bundled wheel of pysqlite3 fits this machine. Without it the server uses the sqlite3 module of Python.
    log(describeError(error));
    const portable = names.filter((name) => name.endsWith("-none-any.whl") && !name.startsWith("pip-"));
    await install("--no-deps", ...portable.map((name) => join(wheels, name)));
  }
}

async function findPython(cwd: string): Promise<string> {
  const script = "import sys; print(sys.executable if sys.version_info >= (3, 11) else '')";
  for (const name of WINDOWS ? ["py", ...PYTHONS] : PYTHONS) {
    const candidate = findOnPath(name);
    const output = candidate === undefined ? "" : await run(candidate, [ISOLATED, "-c", script], { cwd, timeout: CHECK_TIMEOUT_MS }).catch(() => "");
    if (output.trim() !== "") {
      return output.trim();
    }
  }
  throw new NoPythonError("Segue needs Python 3.11 or later, and there is none on the PATH.");
}

function pythonPath(folder: string): string {
  return WINDOWS ? join(folder, "Scripts", "python.exe") : join(folder, "bin", "python");
}

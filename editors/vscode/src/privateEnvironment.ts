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
/** The name of an environment; earlier versions left out the platform. */
const OWN_ENVIRONMENT = new RegExp(`^${ENVIRONMENT}(\\w+-\\w+-)?[0-9a-f]{16}$`);
const DRAFT = "making-";
const USED_BY = "used-by-";
/** A computer that shares this folder is trusted to use an environment for so long after it has started it. */
const REMOTE_USE_MS = 7 * 24 * 3_600_000;
/** What lists the files of the bundle with their hashes, and what installs them. */
const SUMS = "SHA256SUMS";
const INSTALLER = "install_server.py";
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
  return existsSync(join(wheels, SUMS));
}

/**
 * Return the Python of an environment in which the bundled server was seen to run. Makes the environment if there is
 * none, and makes it anew if it does not run. Rejects with an `EnvironmentError` if that fails.
 */
export async function ensureEnvironment(options: EnvironmentOptions): Promise<string> {
  const { storage, wheels, log } = options;
  const stamp = hash(readFileSync(join(wheels, SUMS))).slice(0, 16);
  // A folder that is synchronized or shared may hold environments of several platforms.
  const folder = join(storage, `${ENVIRONMENT}${process.platform}-${process.arch}-${stamp}`);
  // Marked before it is tried, so that no window of another version removes it meanwhile.
  await markUsed(folder).catch(() => undefined);
  const fault = existsSync(folder) ? await findFault(pythonPath(folder), storage) : "there is none yet";
  if (fault !== undefined) {
    log(`The private environment cannot be used: ${fault}`);
    if (!options.mayCreate) {
      throw new EnvironmentError(`The private environment cannot be used: ${fault}`);
    }
    checkBundle(wheels);
    await replaceEnvironment(folder, options);
    await markUsed(folder);
  }
  void removeUnused(folder, options).catch((error: unknown) => log(describeError(error)));
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

/** Throw unless the files are those that the extension was packaged with, and all of them. */
function checkBundle(wheels: string): void {
  const isHere = (name: string) => name !== SUMS && !name.startsWith("__");
  const sums = readdirSync(wheels)
    .filter(isHere)
    .sort()
    .map((name) => `${hash(readFileSync(join(wheels, name)))}  ${name}\n`);
  if (sums.join("") !== readFileSync(join(wheels, SUMS), "utf8")) {
    throw new EnvironmentError("The server in this extension is damaged: its files have other hashes. Install the extension again.");
  }
}

function hash(content: Buffer): string {
  return createHash("sha256").update(content).digest("hex");
}

async function markUsed(folder: string): Promise<void> {
  await writeFile(join(folder, `${USED_BY}${process.pid}`), hostname());
}

async function replaceEnvironment(folder: string, options: EnvironmentOptions): Promise<void> {
  const draft = await mkdtemp(join(options.storage, `${DRAFT}${process.pid}-`));
  try {
    await markUsed(draft);
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

/**
 * Remove environments of other versions and drafts of other processes, unless somebody may still use them. What cannot
 * be removed is left for the next start; the reason is logged.
 */
async function removeUnused(folder: string, { storage, log }: EnvironmentOptions): Promise<void> {
  for (const name of readdirSync(storage)) {
    const other = join(storage, name);
    try {
      const isEnvironment = OWN_ENVIRONMENT.test(name);
      const isDraft = name.startsWith(DRAFT) && Date.now() - (await stat(other)).mtimeMs > DRAFT_AGE_MS;
      if ((isEnvironment || isDraft) && !(await isUsed(other)) && other !== folder) {
        await removeWhole(other, storage);
        log(`Removed ${other}, which no window uses any more.`);
      }
    } catch (error) {
      log(`Cannot remove ${other}: ${describeError(error)}`);
    }
  }
}

/** Remove a folder under another name: no window finds it half removed, and Windows renames none that is in use. */
async function removeWhole(folder: string, storage: string): Promise<void> {
  const draft = await mkdtemp(join(storage, `${DRAFT}${process.pid}-`));
  try {
    await rename(folder, join(draft, "old"));
  } finally {
    await rm(draft, { recursive: true, force: true });
  }
}

/** Whether a window has marked *folder* and still runs; removes the marks of others. */
async function isUsed(folder: string): Promise<boolean> {
  let isMarked = false;
  for (const name of readdirSync(folder).filter((each) => each.startsWith(USED_BY))) {
    const mark = join(folder, name);
    const isHere = (await readFile(mark, "utf8")) === hostname();
    const isAlive = isHere
      ? isRunning(Number(name.slice(USED_BY.length)))
      : Date.now() - (await stat(mark)).mtimeMs < REMOTE_USE_MS;
    if (isAlive) {
      isMarked = true;
    } else {
      await rm(mark, { force: true });
    }
  }
  return isMarked;
}

function isRunning(processId: number): boolean {
  try {
    process.kill(processId, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}

/** Fill *folder* with an environment of uv, if it is installed, else of a Python on the PATH. The network is not used. */
async function createEnvironment(folder: string, { storage, wheels, log }: EnvironmentOptions): Promise<void> {
  const start = (program: string, ...args: string[]) => run(program, args, { cwd: storage, timeout: INSTALL_TIMEOUT_MS });
  const install = async () => {
    const leftOut = await start(pythonPath(folder), ISOLATED, join(wheels, INSTALLER));
    leftOut.split("\n").filter(Boolean).forEach(log);
  };
  const uv = findOnPath("uv");
  if (uv === undefined) {
    log("uv is not installed: taking Python alone.");
  } else {
    try {
      const python = ["--python", ">=3.11", "--no-python-downloads"];
      await start(uv, "venv", "--offline", "--no-config", "--allow-existing", ...python, folder);
      return await install();
    } catch (error) {
      log(`uv cannot create the environment: ${describeError(error)}`);
    }
  }
  await start(await findPython(storage), ISOLATED, "-m", "venv", "--without-pip", "--clear", folder);
  await install();
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

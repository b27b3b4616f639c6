// Which command starts the server: the person's own, else the one that comes with the extension, else `segue`.

import { execFile } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { mkdir, mkdtemp, rename, rm } from "node:fs/promises";
import { delimiter, join } from "node:path";
import { promisify } from "node:util";

const run = promisify(execFile);
const WINDOWS = process.platform === "win32";
const PYTHONS = ["python3", "python", "python3.14", "python3.13", "python3.12", "python3.11"];
/** Isolated: nothing of the working directory, the environment or the person's own packages is imported. */
const ISOLATED = "-I";

export interface Launch {
  command: string;
  args: string[];
}

export interface Places {
  /** The setting `segue.server.command`. */
  command: readonly string[];
  /** The folder of the wheels in the extension; it need not exist. */
  wheels: string;
  /** A folder of ours in which an environment may be made. */
  storage: string;
  log: (line: string) => void;
}

/** No server can be started; the message says what is missing. */
export class NoServerError extends Error {}

/**
 * Return the command that starts a server, after making its environment if that is needed. It is to be run in
 * the folder `storage`.
 */
export async function findServer(places: Places): Promise<Launch> {
  await mkdir(places.storage, { recursive: true });
  const [command, ...args] = places.command;
  if (command !== undefined) {
    return { command, args };
  }
  const reasons: string[] = [];
  if (existsSync(join(places.wheels, "stamp"))) {
    try {
      return { command: await environment(places), args: [ISOLATED, "-m", "segue", "lsp"] };
    } catch (error) {
      reasons.push(reasonOf(error));
      places.log(reasonOf(error));
    }
  }
  if (isOnPath("segue")) {
    return { command: "segue", args: ["lsp"] };
  }
  throw new NoServerError([...reasons, "There is no segue on the PATH either."].join(" "));
}

/** The command that a person can run to install the server for every editor. */
export function installCommand(wheels: string): string {
  const wheel = existsSync(wheels) ? readdirSync(wheels).find((name) => name.startsWith("segue-")) : undefined;
  return wheel === undefined
    ? "pipx install ."
    : `uv tool install --find-links "${wheels}" "${join(wheels, wheel)}"`;
}

/** Return the interpreter of the private environment; it is made once for each bundled server. */
async function environment(places: Places): Promise<string> {
  const stamp = readFileSync(join(places.wheels, "stamp"), "utf8").trim();
  const folder = join(places.storage, `server-${stamp}`);
  if (!existsSync(folder)) {
    const draft = await mkdtemp(join(places.storage, "making-"));
    try {
      await make(draft, places);
      // Whole or not there at all, and whoever of several windows is first has made it for all.
      await rename(draft, folder).catch((error: unknown) => {
        if (!existsSync(folder)) {
          throw error;
        }
      });
    } finally {
      await rm(draft, { recursive: true, force: true });
    }
  }
  return interpreterOf(folder);
}

async function make(folder: string, places: Places): Promise<void> {
  try {
    await makeWithUv(folder, places);
  } catch (error) {
    places.log(`Not made with uv: ${reasonOf(error)}`);
    await makeWithPython(folder, places);
  }
}

async function makeWithUv(folder: string, { storage, wheels }: Places): Promise<void> {
  // Its configuration files and the network are left alone: what is installed stands in the extension.
  const uv = (...args: string[]) => run("uv", [...args, "--offline", "--no-config"], { cwd: storage });
  await uv("venv", "--allow-existing", "--python", ">=3.11", "--no-python-downloads", folder);
  await uv("pip", "install", "--python", interpreterOf(folder), "--no-index", "--find-links", wheels, "segue");
}

async function makeWithPython(folder: string, { storage, wheels, log }: Places): Promise<void> {
  const python = await findPython(storage);
  // Without pip, because the ensurepip that would bring it is missing in Debian's Python.
  await run(python, [ISOLATED, "-m", "venv", "--without-pip", "--clear", folder], { cwd: storage });
  const names = readdirSync(wheels).filter((name) => name.endsWith(".whl"));
  const pip = join(wheels, names.find((name) => name.startsWith("pip-")) ?? "pip", "pip");
  const install = (...what: string[]) =>
    run(interpreterOf(folder), [ISOLATED, pip, "install", "--isolated", "--quiet", "--no-index", "--find-links", wheels, ...what], {
      cwd: storage,
    });
  try {
    await install("segue");
  } catch (error) {
    // No wheel of pysqlite3 fits this machine: the server then takes its Python's own SQLite.
    log(reasonOf(error));
    const portable = names.filter((name) => name.endsWith("-none-any.whl") && !name.startsWith("pip-"));
    await install("--no-deps", ...portable.map((name) => join(wheels, name)));
  }
}

async function findPython(cwd: string): Promise<string> {
  const candidates = WINDOWS ? ["py", ...PYTHONS] : PYTHONS;
  for (const candidate of candidates.filter(isOnPath)) {
    const question = "import sys; print(sys.executable if sys.version_info >= (3, 11) else '')";
    const answer = await run(candidate, [ISOLATED, "-c", question], { cwd }).catch(() => undefined);
    const python = answer?.stdout.trim();
    if (python) {
      return python;
    }
  }
  throw new NoServerError("Segue needs Python 3.11 or later, and there is none on the PATH.");
}

function interpreterOf(folder: string): string {
  return WINDOWS ? join(folder, "Scripts", "python.exe") : join(folder, "bin", "python");
}

function isOnPath(name: string): boolean {
  const suffixes = WINDOWS ? [".exe", ".cmd", ".bat"] : [""];
  return (process.env["PATH"] ?? "")
    .split(delimiter)
    .filter((folder) => folder !== "")
    .some((folder) => suffixes.some((suffix) => existsSync(join(folder, name + suffix))));
}

function reasonOf(error: unknown): string {
  const { stderr, message } = error as { stderr?: string; message?: string };
  return stderr?.trim() || message || String(error);
}

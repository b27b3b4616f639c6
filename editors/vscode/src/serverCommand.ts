// Finds the command that starts the server: the configured one, else the bundled server, else `segue` on the PATH.
// Installs the bundled server into a private environment first, if that is not done yet.

import { execFile } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { mkdir, mkdtemp, rename, rm } from "node:fs/promises";
import { delimiter, join } from "node:path";
import { promisify } from "node:util";

const run = promisify(execFile);
const WINDOWS = process.platform === "win32";
const PYTHONS = ["python3", "python", "python3.14", "python3.13", "python3.12", "python3.11"];
/** Python ignores the working directory, `PYTHON…` variables and the user's site-packages. */
const ISOLATED = "-I";

/** A program and its arguments. */
export interface ServerCommand {
  command: string;
  args: string[];
}

/** Where to look for a server. */
export interface ServerCommandOptions {
  /** The setting `segue.server.command`. */
  command: readonly string[];
  /** The folder of the bundled wheels; it need not exist. */
  wheels: string;
  /** The extension's own folder, in which the private environment is created. */
  storage: string;
  log: (line: string) => void;
}

/** No server can be started. The message names what is missing. */
export class NoServerError extends Error {}

/**
 * Return the command that starts the server. Creates the environment of the bundled server if necessary. Run the
 * command in the folder `storage`. Rejects with a `NoServerError` if there is no server.
 */
export async function resolveServerCommand(options: ServerCommandOptions): Promise<ServerCommand> {
  await mkdir(options.storage, { recursive: true });
  const [command, ...args] = options.command;
  if (command !== undefined) {
    return { command, args };
  }
  const reasons: string[] = [];
  if (existsSync(join(options.wheels, "stamp"))) {
    try {
      return { command: await ensureEnvironment(options), args: [ISOLATED, "-m", "segue", "lsp"] };
    } catch (error) {
      reasons.push(describeError(error));
      options.log(describeError(error));
    }
  }
  if (isOnPath("segue")) {
    return { command: "segue", args: ["lsp"] };
  }
  throw new NoServerError([...reasons, "There is no command `segue` on the PATH."].join(" "));
}

/** Return a shell command that installs the server for all editors, from the bundled wheels if there are any. */
export function buildInstallCommand(wheels: string): string {
  const wheel = existsSync(wheels) ? readdirSync(wheels).find((name) => name.startsWith("segue-")) : undefined;
  return wheel === undefined
    ? "pipx install ."
    : `uv tool install --find-links "${wheels}" "${join(wheels, wheel)}"`;
}

/** Return the Python of the private environment; each version of the bundled server has an environment of its own. */
async function ensureEnvironment(options: ServerCommandOptions): Promise<string> {
  const stamp = readFileSync(join(options.wheels, "stamp"), "utf8").trim();
  const folder = join(options.storage, `server-${stamp}`);
  if (!existsSync(folder)) {
    const draft = await mkdtemp(join(options.storage, "making-"));
    try {
      await createEnvironment(draft, options);
      // The rename publishes the environment atomically. If another window was first, its environment is used.
      await rename(draft, folder).catch((error: unknown) => {
        if (!existsSync(folder)) {
          throw error;
        }
      });
    } finally {
      await rm(draft, { recursive: true, force: true });
    }
  }
  return pythonPath(folder);
}

async function createEnvironment(folder: string, options: ServerCommandOptions): Promise<void> {
  try {
    await createWithUv(folder, options);
  } catch (error) {
    options.log(`uv cannot create the environment: ${describeError(error)}`);
    await createWithPython(folder, options);
  }
}

async function createWithUv(folder: string, { storage, wheels }: ServerCommandOptions): Promise<void> {
  // Every package is in the extension: neither the network nor the user's uv configuration is needed.
  const uv = (...args: string[]) => run("uv", [...args, "--offline", "--no-config"], { cwd: storage });
  await uv("venv", "--allow-existing", "--python", ">=3.11", "--no-python-downloads", folder);
  await uv("pip", "install", "--python", pythonPath(folder), "--no-index", "--find-links", wheels, "segue");
}

async function createWithPython(folder: string, { storage, wheels, log }: ServerCommandOptions): Promise<void> {
  const python = await findPython(storage);
  // Without pip: Debian's Python lacks ensurepip. The bundled pip is used instead.
  await run(python, [ISOLATED, "-m", "venv", "--without-pip", "--clear", folder], { cwd: storage });
  const names = readdirSync(wheels).filter((name) => name.endsWith(".whl"));
  const pip = join(wheels, names.find((name) => name.startsWith("pip-")) ?? "pip", "pip");
  const install = (...packages: string[]) =>
    run(pythonPath(folder), [ISOLATED, pip, "install", "--isolated", "--quiet", "--no-index", "--find-links", wheels, ...packages], {
      cwd: storage,
    });
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
  const candidates = WINDOWS ? ["py", ...PYTHONS] : PYTHONS;
  for (const candidate of candidates.filter(isOnPath)) {
    const script = "import sys; print(sys.executable if sys.version_info >= (3, 11) else '')";
    const result = await run(candidate, [ISOLATED, "-c", script], { cwd }).catch(() => undefined);
    const python = result?.stdout.trim();
    if (python) {
      return python;
    }
  }
  throw new NoServerError("Segue needs Python 3.11 or later, and there is none on the PATH.");
}

function pythonPath(folder: string): string {
  return WINDOWS ? join(folder, "Scripts", "python.exe") : join(folder, "bin", "python");
}

function isOnPath(name: string): boolean {
  const suffixes = WINDOWS ? [".exe", ".cmd", ".bat"] : [""];
  return (process.env["PATH"] ?? "")
    .split(delimiter)
    .filter((folder) => folder !== "")
    .some((folder) => suffixes.some((suffix) => existsSync(join(folder, name + suffix))));
}

function describeError(error: unknown): string {
  const { stderr, message } = error as { stderr?: string; message?: string };
  return stderr?.trim() || message || String(error);
}

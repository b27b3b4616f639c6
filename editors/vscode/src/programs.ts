// Runs other programs so that neither the workspace nor the environment of the editor can redirect them.

import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { delimiter, isAbsolute, join } from "node:path";
import { promisify } from "node:util";

export const WINDOWS = process.platform === "win32";
/** Python ignores the working directory, `PYTHON…` variables and the user's site-packages. */
export const ISOLATED = "-I";

const PYTHON_VARIABLE = /^(PYTHON|__PYVENV_LAUNCHER__$)/i;
const INSTALLER_VARIABLE = /^(UV_(?!CACHE_DIR$|PYTHON_INSTALL_DIR$)|VIRTUAL_ENV$|CONDA_PREFIX$)/i;
const execute = promisify(execFile);

/** The environment of this process without the variables that can make Python import other modules than its own. */
export function isolatePython(): NodeJS.ProcessEnv {
  return omit(process.env, PYTHON_VARIABLE);
}

/** How to run a program. */
export interface RunOptions {
  /** Never the workspace: its modules must not be imported, nor its settings read. */
  cwd: string;
  /** In milliseconds; the program is killed then. */
  timeout: number;
}

/**
 * Run a program to its end. Settings of uv and Python in the environment do not influence it. Rejects
 * if it cannot be started, fails, or takes longer than the timeout.
 */
export async function run(program: string, args: readonly string[], { cwd, timeout }: RunOptions): Promise<string> {
  const env = omit(isolatePython(), INSTALLER_VARIABLE);
  const { stdout } = await execute(program, [...args], { cwd, env, timeout, killSignal: "SIGKILL", windowsHide: true });
  return stdout;
}

/** The absolute path of a program in the folders of the PATH. A relative folder of it depends on where one is. */
export function findOnPath(name: string): string | undefined {
  const suffixes = WINDOWS ? [".exe", ".cmd", ".bat"] : [""];
  return (process.env["PATH"] ?? "")
    .split(delimiter)
    .filter(isAbsolute)
    .flatMap((folder) => suffixes.map((suffix) => join(folder, name + suffix)))
    .find((path) => existsSync(path));
}

/** What a program said about its failure, else the message of the error. */
export function describeError(error: unknown): string {
  const { stderr, message } = error as { stderr?: string; message?: string };
  return stderr?.trim() || message || String(error);
}

function omit(environment: NodeJS.ProcessEnv, pattern: RegExp): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(environment).filter(([name]) => !pattern.test(name)));
}

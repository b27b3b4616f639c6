// Finds the command that starts the server: the configured one, else the bundled server, else `segue` on the PATH.

import { existsSync, readdirSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { ensureEnvironment, findFaultOf, hasBundledServer, NoPythonError } from "./privateEnvironment";
import { describeError, findOnPath, ISOLATED } from "./programs";

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
  /** Whether a private environment that is missing or does not run is made anew. Default: true. */
  mayCreate?: boolean;
  log: (line: string) => void;
}

/** No server can be started. The message names what is missing. */
export class NoServerError extends Error {
  constructor(
    message: string,
    /** Whether that is a Python for the bundled server. */
    readonly isPythonMissing = false,
  ) {
    super(message);
  }
}

/**
 * Return the command that starts the server; if it is not the configured one, it was seen to run. Makes the
 * environment of the bundled server if necessary. Run the command in the folder `storage`, with the environment of
 * `isolatePython`. Rejects with a `NoServerError` if there is no server.
 */
export async function resolveServerCommand(options: ServerCommandOptions): Promise<ServerCommand> {
  const { storage, wheels, log, mayCreate = true } = options;
  await mkdir(storage, { recursive: true });
  const [command, ...args] = options.command;
  if (command !== undefined) {
    return { command, args };
  }
  const reasons: string[] = [];
  let isPythonMissing = false;
  if (hasBundledServer(wheels)) {
    try {
      const python = await ensureEnvironment({ storage, wheels, log, mayCreate });
      return { command: python, args: [ISOLATED, "-m", "segue", "lsp"] };
    } catch (error) {
      isPythonMissing = error instanceof NoPythonError;
      reasons.push(describeError(error));
      log(describeError(error));
    }
  }
  const segue = findOnPath("segue");
  const fault = segue === undefined ? undefined : await findFaultOf(segue, [], storage);
  if (segue !== undefined && fault === undefined) {
    return { command: segue, args: ["lsp"] };
  }
  reasons.push(segue === undefined ? "There is no command `segue` on the PATH." : `The command \`segue\` on the PATH cannot be used: ${fault}`);
  throw new NoServerError(reasons.join(" "), isPythonMissing);
}

/**
 * Return the command line of another command of the program that a server is started with, such as `watch`; with the
 * server's database. Undefined if the server is not started as `… lsp …`.
 */
export function otherCommand({ command, args }: ServerCommand, other: readonly string[]): ServerCommand | undefined {
  const at = args.indexOf("lsp");
  if (at < 0) {
    return undefined;
  }
  const database = args.findIndex((argument, index) => index > at && /^--database(=|$)/.test(argument));
  const length = args[database] === "--database" ? 2 : 1;
  return { command, args: [...args.slice(0, at), ...(database < 0 ? [] : args.slice(database, database + length)), ...other] };
}

/** Return a shell command that installs the server for all editors, from the bundled wheels if there are any. */
export function buildInstallCommand(wheels: string): string {
  const wheel = existsSync(wheels) ? readdirSync(wheels).find((name) => name.startsWith("segue-")) : undefined;
  return wheel === undefined
    ? "pipx install ."
    : `uv tool install --find-links "${wheels}" "${join(wheels, wheel)}"`;
}

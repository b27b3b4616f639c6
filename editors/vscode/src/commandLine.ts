// How a program is started in a terminal, and how people paste that into a shell.

import { findOnPath } from "./programs";

/** What a terminal starts, as VS Code takes it. */
export interface Launch {
  shellPath: string;
  /** A string is a command line of Windows. */
  shellArgs: string[] | string;
}

/** Nothing that any shell would interpret. */
const PLAIN = /^[\w=.-]+$/;
const BATCH_FILE = /\.(cmd|bat)$/i;

/**
 * How a terminal starts *command* without a shell; undefined if its program is not on the PATH. A script of cmd.exe,
 * as npm installs programs on Windows, starts with cmd.exe, and only if there is nothing that it would interpret.
 */
export function buildLaunch(command: readonly string[], find = findOnPath): Launch | undefined {
  const [name = "", ...args] = command;
  const program = find(name);
  if (program === undefined) {
    return undefined;
  }
  if (!BATCH_FILE.test(program)) {
    return { shellPath: program, shellArgs: args };
  }
  // Typing it into the user's shell instead would depend on which shell that is, and on when it is ready.
  return args.every((arg) => PLAIN.test(arg)) && !program.includes("%")
    ? { shellPath: process.env["ComSpec"] ?? "cmd.exe", shellArgs: `/d /s /c ""${program}" ${args.join(" ")}"` }
    : undefined;
}

/** A line for *shell*, the path of a shell of the user: it starts *command* in *directory*. */
export function formatCommandLine(command: readonly string[], directory: string, shell: string): string {
  if (/(powershell|pwsh)(\.exe)?$/i.test(shell)) {
    const quote = (text: string) => (PLAIN.test(text) ? text : `'${text.replace(/['‘’‚‛]/g, "$&$&")}'`);
    return `Set-Location -LiteralPath ${quote(directory)}; ${command.map(quote).join(" ")}`;
  }
  if (/cmd\.exe$/i.test(shell)) {
    const quote = (text: string) => (PLAIN.test(text) ? text : `"${text}"`);
    return `cd /d ${quote(directory)} && ${command.map(quote).join(" ")}`;
  }
  const quote = (text: string) => (PLAIN.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`);
  return `cd ${quote(directory)} && ${command.map(quote).join(" ")}`;
}

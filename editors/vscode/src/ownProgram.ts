// Goes on with an imported conversation in the program that it was had in, in a terminal.

import { stat } from "node:fs/promises";
import * as vscode from "vscode";
import { buildLaunch, formatCommandLine } from "./commandLine";
import { escapeLabel, escapeMessage, singleLine } from "./format";
import type { ResumeCommand, Session } from "./protocol";

/** A program that ends with an error so soon after its start has not gone on with the conversation. */
const SOON_MS = 10_000;

/** The command of a conversation's own program. */
export interface OwnProgram {
  name: string;
  command: string[];
  directory: string;
}

/** The program in which a conversation goes on, beside the chat view; undefined if there is none. */
export function toOwnProgram({ program, command, directory }: ResumeCommand): OwnProgram | undefined {
  return program === null || command === null ? undefined : { name: program, command, directory };
}

/** Let the user pick where the conversation goes on: in *program*, or here; undefined if the user cancels. */
export async function pickWay(session: Session, program: OwnProgram): Promise<"here" | "program" | undefined> {
  const name = escapeLabel(program.name);
  // An import leaves the name of its program there; whoever appends here leaves another.
  const without = session.client === program.name ? "" : ", without what was added in other programs";
  const items = [
    { way: "here", iconPath: new vscode.ThemeIcon("comment-discussion"), label: "Go on with @segue", detail: "In the chat view, with the conversation as context" },
    { way: "program", iconPath: new vscode.ThemeIcon("terminal"), label: `Go on in ${name}`, detail: `In a terminal${without}` },
  ] as const;
  const options = { title: "Resume Conversation", placeHolder: `This conversation comes from ${program.name}` };
  return (await vscode.window.showQuickPick<(typeof items)[number]>(items, options))?.way;
}

/** Start the program in a terminal. If it cannot be started, a message says why and offers the command. */
export async function startInTerminal(program: OwnProgram): Promise<void> {
  const { name, command, directory } = program;
  if (!vscode.workspace.isTrusted) {
    // It would read the settings of the folder, and run what they name.
    const message = `${name} is not started in a workspace that is not trusted.`;
    return offerCommand(message, program, { "Manage Workspace Trust": "workbench.trust.manage" });
  }
  if (!(await isFolder(directory))) {
    return offerCommand(`The folder of this conversation is gone: ${singleLine(directory)}`, program);
  }
  const launch = buildLaunch(command);
  if (launch === undefined) {
    return offerCommand(`${command[0]} is not on the PATH that VS Code has.`, program);
  }
  const terminal = vscode.window.createTerminal({ name, cwd: directory, iconPath: new vscode.ThemeIcon("terminal"), ...launch });
  terminal.show();
  reportEarlyEnd(terminal, program);
}

/** Say so if the program ends with an error at once: VS Code closes the terminal with what was said in it. */
function reportEarlyEnd(terminal: vscode.Terminal, program: OwnProgram): void {
  const start = Date.now();
  const listener = vscode.window.onDidCloseTerminal((closed) => {
    if (closed !== terminal) {
      return;
    }
    listener.dispose();
    const { code, reason } = terminal.exitStatus ?? {};
    const isFailed = code !== undefined && code !== 0 && reason === vscode.TerminalExitReason.Process;
    if (isFailed && Date.now() - start < SOON_MS) {
      void offerCommand(`${program.name} ended with code ${code}. It may not have this conversation any more.`, program);
    }
  });
}

async function offerCommand(
  message: string,
  { command, directory }: OwnProgram,
  commands: { [button: string]: string } = {},
): Promise<void> {
  const copy = "Copy Command";
  const choice = await vscode.window.showWarningMessage(escapeMessage(`Segue: ${message}`), ...Object.keys(commands), copy);
  if (choice === copy) {
    await vscode.env.clipboard.writeText(formatCommandLine(command, directory, vscode.env.shell));
  } else if (choice !== undefined) {
    await vscode.commands.executeCommand(commands[choice] ?? "");
  }
}

async function isFolder(path: string): Promise<boolean> {
  return stat(path).then((found) => found.isDirectory(), () => false);
}

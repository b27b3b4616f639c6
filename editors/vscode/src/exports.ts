// Exports a conversation into a file that the user chooses. It is not opened in an editor, not even Markdown: there a
// click on a link of a message could run a command of VS Code, and breaking such links would not be exporting.

import * as vscode from "vscode";
import { type ExportFormat, readPages, writePrivately } from "./exportFile";
import { escapeMessage, formatTitle } from "./format";
import type { ExportResult } from "./protocol";
import type { Request } from "./requests";

/** What is exported, and from which folder. */
export interface Exportable {
  folder: string;
  session: { sessionId: string; title: string | null };
}

interface FormatItem extends vscode.QuickPickItem {
  format: ExportFormat;
  suffix: string;
}

const FORMATS: readonly FormatItem[] = [
  { format: "markdown", suffix: "md", label: "Markdown", detail: "For a pull request or a note" },
  { format: "html", suffix: "html", label: "HTML page", detail: "For a browser or a printer; it loads nothing and runs nothing" },
  { format: "jsonl", suffix: "jsonl", label: "JSON lines", detail: "Everything, for another machine: segue import FILE" },
];

/** Ask for a format and a file, and export the conversation. */
export async function exportConversation(request: Request, { folder, session }: Exportable): Promise<void> {
  const title = `Export “${formatTitle(session)}”`;
  const picked = await vscode.window.showQuickPick(FORMATS, { title: "Export Conversation", placeHolder: title });
  if (picked === undefined) {
    return;
  }
  const pages = readPages(request, session.sessionId, picked.format);
  const { value: first } = await pages.next();
  if (first === undefined) {
    return;
  }
  const target = await vscode.window.showSaveDialog({
    title,
    saveLabel: "Export",
    defaultUri: vscode.Uri.joinPath(vscode.Uri.parse(folder), first.fileName),
    filters: { [picked.label]: [picked.suffix] },
  });
  if (target !== undefined && (await write(target, title, first, pages))) {
    await confirm(target, picked.format);
  }
}

/** Write the file; what takes a while shows its progress. Returns false if the user cancels it: nothing is left then. */
async function write(
  target: vscode.Uri,
  title: string,
  first: ExportResult,
  others: AsyncIterable<ExportResult>,
): Promise<boolean> {
  if (first.nextCursor === null) {
    await writeTo(target, contents(first, others));
    return true;
  }
  const options = { location: vscode.ProgressLocation.Notification, title: escapeMessage(title), cancellable: true };
  return vscode.window.withProgress(options, async (progress, token) => {
    try {
      await writeTo(target, contents(first, others, progress, token));
      return true;
    } catch (error) {
      if (error instanceof vscode.CancellationError) {
        return false;
      }
      throw error;
    }
  });
}

async function* contents(
  first: ExportResult,
  others: AsyncIterable<ExportResult>,
  progress?: vscode.Progress<{ message: string }>,
  token?: vscode.CancellationToken,
): AsyncGenerator<string, void> {
  yield first.content;
  let size = first.content.length;
  for await (const { content } of others) {
    if (token?.isCancellationRequested === true) {
      throw new vscode.CancellationError();
    }
    yield content;
    size += content.length;
    progress?.report({ message: `${(size / 1e6).toFixed(0)} MB` });
  }
}

async function writeTo(target: vscode.Uri, texts: AsyncIterable<string>): Promise<void> {
  if (target.scheme === "file") {
    return writePrivately(target.fsPath, texts);
  }
  const pieces: Buffer[] = []; // other file systems take a file as a whole
  for await (const text of texts) {
    pieces.push(Buffer.from(text));
  }
  await vscode.workspace.fs.writeFile(target, Buffer.concat(pieces));
}

async function confirm(target: vscode.Uri, format: ExportFormat): Promise<void> {
  const message = escapeMessage(`Segue: Exported to ${vscode.workspace.asRelativePath(target)}`);
  const open = "Open in Browser";
  const isHere = vscode.env.remoteName === undefined; // a browser cannot open a file of another machine
  const buttons = format === "html" && isHere ? [open] : [];
  if ((await vscode.window.showInformationMessage(message, ...buttons)) === open) {
    await vscode.env.openExternal(target);
  }
}

// The status bar item: the current conversation of the active folder.

import * as vscode from "vscode";
import { type Conversations, getActiveFolder } from "./conversations";
import { escapeLabel, escapeMarkdown, formatAge, formatCount, formatTitle } from "./format";

const MAX_TITLE_LENGTH = 40;

/** Shows the current conversation; hidden while the active folder has none. */
export class StatusBar implements vscode.Disposable {
  private readonly item = vscode.window.createStatusBarItem("segue.session", vscode.StatusBarAlignment.Left, 0);
  private readonly disposables: vscode.Disposable[];

  constructor(private readonly conversations: Conversations) {
    this.item.name = "Segue";
    this.item.command = "segue.resume";
    const update = () => this.update();
    this.disposables = [
      conversations.onDidChangeSession(update),
      vscode.window.onDidChangeActiveTextEditor(update),
      vscode.workspace.onDidChangeWorkspaceFolders(update),
      new vscode.Disposable(clearInterval.bind(undefined, setInterval(update, 30_000))),
    ];
  }

  /** Remove the item. */
  dispose(): void {
    for (const disposable of [...this.disposables, this.item]) {
      disposable.dispose();
    }
  }

  private update(): void {
    const current = this.conversations.getCurrent(getActiveFolder());
    if (current === undefined) {
      this.item.hide();
      return;
    }
    const { session, lastActiveBeforeResume } = current;
    const name = session.eventCount === 0 ? "new conversation" : escapeLabel(formatTitle(session, MAX_TITLE_LENGTH));
    const resumed =
      lastActiveBeforeResume === undefined ? "" : ` — resumed, last active ${formatAge(lastActiveBeforeResume)}`;
    this.item.text = `$(comment-discussion) ${name}${resumed}`;
    this.item.tooltip = new vscode.MarkdownString(
      `**${escapeMarkdown(formatTitle(session))}**\n\n${formatCount(session.eventCount, "event")}. Click to resume another conversation.`,
    );
    this.item.show();
  }
}

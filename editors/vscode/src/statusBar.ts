// The status bar item: the current conversation of the active folder, and what is not stored yet.

import * as vscode from "vscode";
import { type Conversations, getActiveFolder } from "./conversations";
import type { CurrentSession, CurrentSessions } from "./currentSessions";
import { escapeLabel, escapeMarkdown, formatAge, formatCount, formatTitle, singleLine } from "./format";

const MAX_TITLE_LENGTH = 40;

/**
 * Shows the conversation that the active folder goes on with; hidden if the next question begins one. While events cannot be stored, it shows
 * how many, and why.
 */
export class StatusBar implements vscode.Disposable {
  private readonly item = vscode.window.createStatusBarItem("segue.session", vscode.StatusBarAlignment.Left, 0);
  private readonly disposables: vscode.Disposable[];

  constructor(
    private readonly conversations: Conversations,
    private readonly currentSessions: CurrentSessions,
  ) {
    this.item.name = "Segue";
    const update = () => this.update();
    this.disposables = [
      currentSessions.onDidChange(update),
      conversations.onDidChangeUnsent(update),
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
    const { events, reason } = this.conversations.unsent;
    const current = this.currentSessions.get(getActiveFolder());
    if (events > 0 && reason !== undefined) {
      this.showUnsent(events, reason);
    } else if (current !== undefined) {
      this.showCurrent(current);
    } else {
      this.item.hide();
    }
  }

  private showUnsent(events: number, reason: string): void {
    this.item.text = `$(warning) ${formatCount(events, "event")} not stored yet`;
    this.item.accessibilityInformation = { label: `Segue: ${formatCount(events, "event")} not stored yet: ${singleLine(reason)}` };
    this.item.tooltip = new vscode.MarkdownString(`${escapeMarkdown(singleLine(reason))}\n\nClick to try again now.`);
    this.item.command = "segue.sendUnsent";
    this.item.backgroundColor = new vscode.ThemeColor("statusBarItem.warningBackground");
    this.item.show();
  }

  private showCurrent({ session, isOpen, lastActive }: CurrentSession): void {
    const title = session.eventCount === 0 ? "new conversation" : formatTitle(session, MAX_TITLE_LENGTH);
    const age = lastActive === undefined ? "" : ` — ${isOpen ? "resumed, " : ""}last active ${formatAge(lastActive)}`;
    this.item.text = `$(comment-discussion) ${escapeLabel(title)}${age}`;
    this.item.accessibilityInformation = { label: `Segue: ${title}${age}` };
    const next = isOpen ? "" : " The next question to @segue goes on with it.";
    this.item.tooltip = new vscode.MarkdownString(
      `**${escapeMarkdown(formatTitle(session))}**\n\n${formatCount(session.eventCount, "event")}.${next} Click to resume another conversation.`,
    );
    this.item.command = "segue.resume";
    this.item.backgroundColor = undefined;
    this.item.show();
  }
}

// The status bar: which conversation this folder goes on with.

import * as vscode from "vscode";
import { activeFolder, type Conversations } from "./conversations";
import { age, count, plainLabel, plainMarkdown, title } from "./words";

const WIDTH = 40;

export class Status implements vscode.Disposable {
  private readonly item = vscode.window.createStatusBarItem("segue.session", vscode.StatusBarAlignment.Left, 0);
  private readonly listeners: vscode.Disposable[];

  constructor(private readonly conversations: Conversations) {
    this.item.name = "Segue";
    this.item.command = "segue.resume";
    const show = () => this.show();
    this.listeners = [
      conversations.onDidChangeSession(show),
      vscode.window.onDidChangeActiveTextEditor(show),
      vscode.workspace.onDidChangeWorkspaceFolders(show),
      new vscode.Disposable(clearInterval.bind(undefined, setInterval(show, 30_000))),
    ];
  }

  dispose(): void {
    for (const each of [...this.listeners, this.item]) {
      each.dispose();
    }
  }

  private show(): void {
    const current = this.conversations.current(activeFolder());
    if (current === undefined) {
      this.item.hide();
      return;
    }
    const { session, continuedAfter } = current;
    const name = session.eventCount === 0 ? "new conversation" : plainLabel(title(session, WIDTH));
    const continued =
      continuedAfter === undefined ? "" : ` — continued, last active ${age(continuedAfter)}`;
    this.item.text = `$(comment-discussion) ${name}${continued}`;
    this.item.tooltip = new vscode.MarkdownString(
      `**${plainMarkdown(title(session))}**\n\n${count(session.eventCount, "event")}. Click to resume another conversation.`,
    );
    this.item.show();
  }
}

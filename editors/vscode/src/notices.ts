// Tells the user, once for each, that events are not stored yet or were dropped, or that a conversation has parted.

import * as vscode from "vscode";
import type { Conversations, DeletedElsewhere, Parted, UnsentChange } from "./conversations";
import { escapeMessage, formatCount, formatTitle, singleLine } from "./format";
import type { MovedCheckout } from "./protocol";
import { RefusedError } from "./requests";

/** Shows messages about what becomes of events, and writes the reasons to the log. */
export class Notices implements vscode.Disposable {
  private readonly disposables: vscode.Disposable[];
  /** The reason in the log, and whether a message was shown, since the store has last answered. */
  private loggedReason: string | undefined;
  private isShown = false;

  constructor(
    private readonly conversations: Conversations,
    private readonly log: vscode.LogOutputChannel,
  ) {
    this.disposables = [
      conversations.onDidChangeUnsent((change) => void this.handleUnsent(change)),
      conversations.onDidFindDeleted((deleted) => this.handleDeleted(deleted)),
      conversations.onDidPart((parted) => this.handleParted(parted)),
      conversations.onDidFindMoved((moved) => void this.askAboutMoved(moved)),
    ];
  }

  /** Stop listening. */
  dispose(): void {
    for (const disposable of this.disposables) {
      disposable.dispose();
    }
  }

  private async handleUnsent({ unsent: { events, reason }, trouble }: UnsentChange): Promise<void> {
    if (reason === undefined) {
      if (this.loggedReason !== undefined) {
        this.log.info("Storing events again.");
      }
      this.loggedReason = undefined;
      this.isShown = false;
      return;
    }
    const message = `${formatCount(events, "event")} not stored yet. They are kept and sent again. ${reason}`;
    if (reason !== this.loggedReason) {
      this.loggedReason = reason;
      this.log.warn(message);
    }
    // If the server is away instead, its restart is either quick or has a message of its own.
    if (trouble instanceof RefusedError && !this.isShown) {
      this.isShown = true;
      await this.show(`Segue: ${message}`);
    }
  }

  private async show(message: string): Promise<void> {
    const choice = await vscode.window.showWarningMessage(escapeMessage(message), "Try Again", "Show Log");
    if (choice === "Try Again") {
      this.conversations.retryNow();
    } else if (choice === "Show Log") {
      this.log.show();
    }
  }

  private handleDeleted({ title, dropped }: DeletedElsewhere): void {
    const name = title === null ? "A conversation" : `The conversation “${formatTitle({ title })}”`;
    const message = `${name} was deleted elsewhere. ${formatCount(dropped, "event")} that belonged to it cannot be stored.`;
    this.log.warn(message);
    void vscode.window.showWarningMessage(escapeMessage(`Segue: ${message}`));
  }

  private async askAboutMoved(moved: MovedCheckout): Promise<void> {
    const where = `“${formatTitle(moved.session)}” and what else was said in ${singleLine(moved.oldRoot)}`;
    const question = `That folder is gone. Was it moved to ${singleLine(moved.newRoot)}?`;
    const message = escapeMessage(`Segue: ${where} is not listed here. ${question}`);
    const choice = await vscode.window.showInformationMessage(message, "Yes, Take Along", "No");
    if (choice === undefined) {
      return; // asked again in the next window
    }
    try {
      const count = await this.conversations.relocate(moved, choice === "No");
      this.log.info(`${formatCount(count, "conversation")} of a moved folder taken along.`);
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      void vscode.window.showErrorMessage(escapeMessage(`Segue: ${reason}`));
    }
  }

  private handleParted({ fork, sharedBy }: Parted): void {
    const why = sharedBy === null ? "Another window wrote first" : `The conversation is ${singleLine(sharedBy)}’s to change`;
    const message = `${why}; this one goes on in “${formatTitle(fork)}”.`;
    this.log.info(message);
    void vscode.window.showInformationMessage(escapeMessage(`Segue: ${message}`));
  }
}

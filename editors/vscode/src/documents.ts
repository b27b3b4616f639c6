// Transcripts as read-only documents `segue:/TITLE.md?SESSION`.

import * as vscode from "vscode";
import type { Conversations } from "./conversations";
import type { Event, Session } from "./protocol";
import { transcript } from "./transcript";
import { title } from "./words";

const SCHEME = "segue";
const MOST = 2_000;
const PAGE = 1_000;

export class Transcripts implements vscode.TextDocumentContentProvider, vscode.Disposable {
  private readonly changed = new vscode.EventEmitter<vscode.Uri>();
  private readonly sessions = new Map<string, Session>();
  private readonly listeners: vscode.Disposable[];

  readonly onDidChange = this.changed.event;

  constructor(private readonly conversations: Conversations) {
    this.listeners = [
      vscode.workspace.registerTextDocumentContentProvider(SCHEME, this),
      conversations.onDidAppend(({ sessionId }) => this.refresh((uri) => uri.query === sessionId)),
    ];
  }

  async show(session: Session): Promise<void> {
    this.sessions.set(session.sessionId, session);
    const uri = vscode.Uri.from({ scheme: SCHEME, path: `/${nameOf(session)}.md`, query: session.sessionId });
    this.changed.fire(uri);
    const document = await vscode.workspace.openTextDocument(uri);
    const editor = await vscode.window.showTextDocument(document, { preview: true });
    editor.revealRange(new vscode.Range(document.lineCount, 0, document.lineCount, 0));
  }

  async provideTextDocumentContent(uri: vscode.Uri): Promise<string> {
    const sessionId = uri.query;
    const events = await this.newest(sessionId);
    const known = this.sessions.get(sessionId) ?? { title: uri.path.slice(1, -".md".length) };
    return transcript(known, events, (events[0]?.seq ?? 1) - 1);
  }

  dispose(): void {
    for (const each of [...this.listeners, this.changed]) {
      each.dispose();
    }
  }

  /** Read every transcript again that is open. */
  refreshAll(): void {
    this.refresh(() => true);
  }

  private refresh(isMeant: (uri: vscode.Uri) => boolean): void {
    for (const { uri } of vscode.workspace.textDocuments) {
      if (uri.scheme === SCHEME && isMeant(uri)) {
        this.changed.fire(uri);
      }
    }
  }

  private async newest(sessionId: string): Promise<Event[]> {
    let page = await this.conversations.events(sessionId, { limit: PAGE });
    let events = page.events;
    while (page.hasMore && events.length < MOST && events[0] !== undefined) {
      page = await this.conversations.events(sessionId, { before: events[0].seq, limit: PAGE });
      events = [...page.events, ...events];
    }
    return events;
  }
}

function nameOf(session: Session): string {
  return title(session, 60).replace(/[/\\:*?"<>|#]+/g, " ").trim() || session.sessionId;
}

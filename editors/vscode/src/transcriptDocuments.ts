// Serves transcripts as read-only documents `segue:/TITLE.md?SESSION`.

import * as vscode from "vscode";
import type { Conversations } from "./conversations";
import { formatTitle } from "./format";
import type { Event, Session } from "./protocol";
import { renderTranscript } from "./transcript";

const SCHEME = "segue";
/** Older events are not loaded once a transcript has this many; the last page read may exceed it. */
const MAX_EVENTS = 2_000;
const PAGE_SIZE = 1_000;

/** Provides the content of transcript documents, and updates open ones when events are appended. */
export class TranscriptDocuments implements vscode.TextDocumentContentProvider, vscode.Disposable {
  private readonly changed = new vscode.EventEmitter<vscode.Uri>();
  private readonly sessions = new Map<string, Session>();
  private readonly disposables: vscode.Disposable[];

  /** Fires with the URI of a document whose content must be read again. */
  readonly onDidChange = this.changed.event;

  constructor(private readonly conversations: Conversations) {
    this.disposables = [
      vscode.workspace.registerTextDocumentContentProvider(SCHEME, this),
      conversations.onDidAppend(({ sessionId }) => this.refresh((uri) => uri.query === sessionId)),
    ];
  }

  /** Show the transcript of a session in an editor, scrolled to its end. */
  async show(session: Session): Promise<void> {
    this.sessions.set(session.sessionId, session);
    const uri = vscode.Uri.from({ scheme: SCHEME, path: `/${toFileName(session)}.md`, query: session.sessionId });
    this.changed.fire(uri);
    const document = await vscode.workspace.openTextDocument(uri);
    const editor = await vscode.window.showTextDocument(document, { preview: true });
    editor.revealRange(new vscode.Range(document.lineCount, 0, document.lineCount, 0));
  }

  /** The transcript as Markdown. Rejects if the server refuses to read the session. */
  async provideTextDocumentContent(uri: vscode.Uri): Promise<string> {
    const sessionId = uri.query;
    const events = await this.loadNewest(sessionId);
    const session = this.sessions.get(sessionId) ?? { title: uri.path.slice(1, -".md".length) };
    return renderTranscript(session, events, (events[0]?.seq ?? 1) - 1);
  }

  /** Unregister the provider. */
  dispose(): void {
    for (const disposable of [...this.disposables, this.changed]) {
      disposable.dispose();
    }
  }

  /** Reload every open transcript. */
  refreshAll(): void {
    this.refresh(() => true);
  }

  private refresh(matches: (uri: vscode.Uri) => boolean): void {
    for (const { uri } of vscode.workspace.textDocuments) {
      if (uri.scheme === SCHEME && matches(uri)) {
        this.changed.fire(uri);
      }
    }
  }

  private async loadNewest(sessionId: string): Promise<Event[]> {
    let page = await this.conversations.events(sessionId, { limit: PAGE_SIZE });
    let events = page.events;
    while (page.hasMore && events.length < MAX_EVENTS && events[0] !== undefined) {
      page = await this.conversations.events(sessionId, { before: events[0].seq, limit: PAGE_SIZE });
      events = [...page.events, ...events];
    }
    return events;
  }
}

function toFileName(session: Session): string {
  return formatTitle(session, 60).replace(/[/\\:*?"<>|#]+/g, " ").trim() || session.sessionId;
}

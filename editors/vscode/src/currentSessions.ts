// The conversation that each folder goes on with, also before it is opened.

import * as vscode from "vscode";
import { type Conversations, getFolders } from "./conversations";
import type { Session } from "./protocol";
import type { Server } from "./server";
import { mayHaveStore } from "./storeFile";

const LOOK_DELAY_MS = 150;
const LOOK_AGAIN_MS = 60_000;

/** A conversation that the next question in a folder goes on with. */
export interface CurrentSession {
  session: Session;
  /** Whether this window has it open. */
  isOpen: boolean;
  /** The time of its last event if nothing was appended to it in this window; else undefined. */
  lastActive: string | undefined;
}

/**
 * Knows, for each folder of this window, the open conversation, else the one that the next question resumes. Looks for
 * the latter when the window opens, and when another one may fit. Looking opens and writes nothing; it starts no server
 * where nobody uses Segue.
 */
export class CurrentSessions implements vscode.Disposable {
  /** By the URI of the folder. */
  private readonly resumable = new Map<string, Session | null>();
  private readonly changed = new vscode.EventEmitter<void>();
  private readonly disposables: vscode.Disposable[];
  private timer: NodeJS.Timeout | undefined;

  /** Fires when the conversation of a folder, or what is known of it, may be another one. */
  readonly onDidChange = this.changed.event;

  constructor(
    private readonly conversations: Conversations,
    private readonly server: Server,
  ) {
    const look = () => this.lookSoon();
    this.disposables = [
      server.onDidStart(look),
      server.onDidChangeList(look),
      conversations.onDidChangeList(look),
      conversations.onDidChangeSession(() => this.changed.fire()),
      vscode.workspace.onDidChangeWorkspaceFolders(look),
      vscode.workspace.onDidChangeConfiguration((event) => event.affectsConfiguration("segue.continueMinutes") && look()),
      vscode.window.onDidChangeWindowState(({ focused }) => focused && look()),
      new vscode.Disposable(clearInterval.bind(undefined, setInterval(() => vscode.window.state.focused && look(), LOOK_AGAIN_MS))),
    ];
    look();
  }

  /** The conversation that *folder* goes on with; undefined if the next question begins one. */
  get(folder: string): CurrentSession | undefined {
    const open = this.conversations.getCurrent(folder);
    if (open !== undefined) {
      return { session: open.session, isOpen: true, lastActive: open.lastActiveBeforeResume };
    }
    const session = this.resumable.get(folder) ?? undefined;
    return session && { session, isOpen: false, lastActive: session.updatedAt };
  }

  /** Stop looking. */
  dispose(): void {
    clearTimeout(this.timer);
    for (const disposable of [...this.disposables, this.changed]) {
      disposable.dispose();
    }
  }

  private lookSoon(): void {
    if (!this.server.hasStarted && !isSegueUsed()) {
      return;
    }
    this.timer ??= setTimeout(() => {
      this.timer = undefined;
      void Promise.all(getFolders().filter((folder) => this.conversations.getCurrent(folder) === undefined).map((folder) => this.look(folder)));
    }, LOOK_DELAY_MS);
  }

  private async look(folder: string): Promise<void> {
    const continueMinutes = vscode.workspace.getConfiguration("segue").get<number | null>("continueMinutes", null);
    try {
      const { session } = await this.server.requestQuietly("session/findResumable", { workspace: folder, continueMinutes });
      const known = this.resumable.get(folder);
      this.resumable.set(folder, session);
      if (JSON.stringify(known ?? null) !== JSON.stringify(session)) {
        this.changed.fire();
      }
    } catch {
      // No server, or a store that cannot be read: the view says so, and the next look may succeed.
    }
  }
}

/** Whether this user has conversations, as far as that can be known without a server, or settings for them. */
function isSegueUsed(): boolean {
  const settings = vscode.workspace.getConfiguration("segue");
  const isSet = settings.get<boolean>("watch", false) || settings.get<string[]>("server.command", []).length > 0;
  return isSet || mayHaveStore(settings.get<string>("database", ""));
}

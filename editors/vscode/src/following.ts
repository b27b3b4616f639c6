// Asks the server to tell this window what any window and editor stores.

import * as vscode from "vscode";
import type { Server } from "./server";

/** What a window follows. */
export interface Followed {
  /** Whether it follows the lists of conversations. */
  lists: boolean;
  /** The conversations that it follows, and up to which seq it knows them. */
  sessions: ReadonlyMap<string, number>;
}

const NOTHING: Followed = { lists: false, sessions: new Map() };

/** Follows what is asked for, also after the server was started anew. While that is nothing, the server is idle. */
export class Following implements vscode.Disposable {
  private followed = NOTHING;
  private readonly disposables: vscode.Disposable[];

  /** *getWanted* returns what the window follows at the moment. */
  constructor(
    private readonly server: Server,
    private readonly getWanted: () => Followed,
  ) {
    this.disposables = [
      server.onDidStart(() => {
        this.followed = NOTHING;
        this.update();
      }),
    ];
  }

  /** Follow what is wanted now. */
  update(): void {
    const before = this.followed;
    const wanted = this.getWanted();
    this.followed = { lists: wanted.lists, sessions: new Map(wanted.sessions) };
    if (wanted.lists !== before.lists) {
      this.request(wanted.lists ? "session/follow" : "session/unfollow", {});
    }
    for (const [sessionId, after] of wanted.sessions) {
      if (!before.sessions.has(sessionId)) {
        this.request("session/follow", { sessionId, after });
      }
    }
    for (const sessionId of before.sessions.keys()) {
      if (!wanted.sessions.has(sessionId)) {
        this.request("session/unfollow", { sessionId });
      }
    }
  }

  /** Follow nothing any more when the server starts anew. */
  dispose(): void {
    this.disposables.forEach((each) => each.dispose());
  }

  private request(method: "session/follow" | "session/unfollow", params: { sessionId?: string; after?: number }): void {
    // The conversation may be deleted; and a server that is gone is asked when it comes back.
    this.server.request(method, params).catch(() => undefined);
  }
}

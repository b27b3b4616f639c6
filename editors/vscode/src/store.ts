// What other windows and other editors record, noticed as it comes.

import { type FSWatcher, watch } from "node:fs";
import { basename, dirname } from "node:path";
import * as vscode from "vscode";
import type { Server } from "./server";

/** Watches the folder of the database for as long as somebody looks. */
export class StoreWatcher implements vscode.Disposable {
  private watcher: FSWatcher | undefined;

  constructor(
    private readonly server: Server,
    private readonly onDidWrite: () => void,
  ) {}

  /** Watch from now on, or no more. */
  async set(isWanted: boolean): Promise<void> {
    if (!isWanted) {
      this.dispose();
    } else if (this.watcher === undefined) {
      const database = await this.server.database().catch(() => undefined);
      this.start(database);
    }
  }

  dispose(): void {
    this.watcher?.close();
    this.watcher = undefined;
  }

  private start(database: string | undefined): void {
    if (database === undefined || this.watcher !== undefined) {
      return;
    }
    try {
      // Every write goes to the log first.
      const log = `${basename(database)}-wal`;
      this.watcher = watch(dirname(database), (_, name) => name === log && this.onDidWrite());
      this.watcher.on("error", () => this.dispose());
    } catch {
      // There is no folder yet: it is looked for again when the view is shown next.
    }
  }
}

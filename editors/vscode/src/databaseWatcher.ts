// Detects writes to the database by other windows and other editors.

import { type FSWatcher, watch } from "node:fs";
import { basename, dirname } from "node:path";
import * as vscode from "vscode";
import type { Server } from "./server";

/** Watches the write-ahead log of the server's database, and calls back after each write to it. */
export class DatabaseWatcher implements vscode.Disposable {
  private watcher: FSWatcher | undefined;

  constructor(
    private readonly server: Server,
    private readonly onDidWrite: () => void,
  ) {}

  /** Start watching, or stop. Does nothing if the watcher is already in that state. */
  async setActive(isActive: boolean): Promise<void> {
    if (!isActive) {
      this.dispose();
    } else if (this.watcher === undefined) {
      const database = await this.server.getDatabase().catch(() => undefined);
      this.start(database);
    }
  }

  /** Stop watching; `setActive(true)` starts again. */
  dispose(): void {
    this.watcher?.close();
    this.watcher = undefined;
  }

  private start(database: string | undefined): void {
    if (database === undefined || this.watcher !== undefined) {
      return;
    }
    try {
      // In WAL mode every commit is written to this file first.
      const walName = `${basename(database)}-wal`;
      this.watcher = watch(dirname(database), (_, name) => name === walName && this.onDidWrite());
      this.watcher.on("error", () => this.dispose());
    } catch {
      // The folder does not exist yet. The next call of `setActive` tries again.
    }
  }
}

// Reads a conversation as a file, page by page, and writes such a file privately.

import { randomUUID } from "node:crypto";
import { open, realpath, rename, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { ExportParams, ExportResult } from "./protocol";
import type { Request } from "./requests";

/** A format that a conversation is exported in. */
export type ExportFormat = ExportParams["format"];

/** The pages of a conversation as a file, one request each. Rejects if the server refuses to read the session. */
export async function* readPages(
  request: Request,
  sessionId: string,
  format: ExportFormat,
): AsyncGenerator<ExportResult, void> {
  let cursor: string | null = null;
  do {
    const page: ExportResult = await request("session/export", { sessionId, format, cursor });
    yield page;
    cursor = page.nextCursor;
  } while (cursor !== null);
}

/**
 * Write a file that only its owner can read, where the platform has such permissions. It replaces the file at *path*
 * when it is complete; if that fails, or *pages* throws, the old file stays as it is, and nothing else is left.
 */
export async function writePrivately(path: string, pages: AsyncIterable<string>): Promise<void> {
  const target = await realpath(path).catch(() => path); // a link stays one
  const part = join(dirname(target), `.${randomUUID()}.part`);
  const file = await open(part, "wx", 0o600);
  try {
    try {
      for await (const page of pages) {
        await file.appendFile(page);
      }
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(part, target);
  } catch (error) {
    await rm(part, { force: true });
    throw error;
  }
}

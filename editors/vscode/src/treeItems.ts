// How the nodes of the view "Conversations" are displayed, and read out.

import * as vscode from "vscode";
import { type DaysNode, type FolderNode, type HitNode, type MoreNode, type SessionNode } from "./conversationsTree";
import { formatShortDay } from "./days";
import { highlightExcerpt } from "./excerpts";
import {
  escapeMarkdown,
  formatAge,
  formatCount,
  formatPlace,
  formatShortAge,
  formatTitle,
  nameAll,
  nameProgram,
  nameSpeakers,
  singleLine,
} from "./format";
import type { Session } from "./protocol";

/** A workspace folder. */
export function createFolderItem({ folder }: FolderNode): vscode.TreeItem {
  const item = new vscode.TreeItem(vscode.Uri.parse(folder), vscode.TreeItemCollapsibleState.Expanded);
  item.id = folder;
  item.iconPath = vscode.ThemeIcon.Folder;
  return item;
}

/** A day, or more of them. */
export function createDaysItem({ folder, label, children }: DaysNode): vscode.TreeItem {
  const item = new vscode.TreeItem(label, vscode.TreeItemCollapsibleState.Expanded);
  item.id = `${folder} ${label}`;
  item.accessibilityInformation = { label: `${label}, ${formatCount(children.length, "conversation")}` };
  return item;
}

/** A conversation. The view cuts a title that is too long; the tooltip has all of it. */
export function createSessionItem(node: SessionNode, isCurrent: boolean): vscode.TreeItem {
  const { folder, session, hits } = node;
  const item = new vscode.TreeItem(formatTitle(session, Number.POSITIVE_INFINITY));
  item.id = `${folder} ${session.sessionId}${hits === undefined ? "" : " found"}`;
  item.collapsibleState = vscode.TreeItemCollapsibleState[hits === undefined ? "None" : "Expanded"];
  const count = formatCount(session.eventCount, "event");
  const speakers = nameSpeakers(session);
  const isOld = Date.now() - Date.parse(session.updatedAt) > 7 * 86_400_000;
  const when = isOld ? formatShortDay(session.updatedAt) : formatShortAge(session.updatedAt);
  item.description = [when, count, ...speakers].join(" · ");
  item.contextValue = session.sharedBy !== null ? "session.shared" : session.archivedAt === null ? "session" : "session.archived";
  item.iconPath = chooseIcon(session, isCurrent);
  const marks = [
    ...(isCurrent ? ["current"] : []),
    ...(session.forkedFrom === null ? [] : ["fork"]),
    ...(session.archivedAt === null ? [] : ["archived"]),
  ];
  const facts = [formatTitle(session, Number.POSITIVE_INFINITY), formatAge(session.updatedAt), count, ...speakers, ...marks];
  item.accessibilityInformation = { label: facts.join(", ") };
  item.command = { command: "segue.previewTranscript", title: "Show Transcript", arguments: [node] };
  return item;
}

/** A place that was found. */
export function createHitItem({ hit, parent }: HitNode): vscode.TreeItem {
  const { session, event, excerpt } = hit;
  const item = new vscode.TreeItem(highlightExcerpt(excerpt));
  item.id = `${parent.folder} ${session.sessionId} ${event?.id ?? ""} hit`;
  item.iconPath = new vscode.ThemeIcon(event === null ? "tag" : "dash");
  item.tooltip = singleLine(excerpt.map(({ text }) => text).join(""));
  item.command = { command: "segue.openHit", title: "Show Transcript", arguments: [hit] };
  return item;
}

/** "Load more…" */
export function createMoreItem({ folder }: MoreNode): vscode.TreeItem {
  const item = new vscode.TreeItem("Load more…");
  item.command = { command: "segue.loadMore", title: "Load More", arguments: [folder] };
  return item;
}

/** The tooltip of a conversation. *original* is what it is a fork of. */
export function buildTooltip(session: Session, isCurrent: boolean, original: Session | undefined): vscode.MarkdownString {
  const program = session.source === null ? [] : [nameProgram(session.source)];
  const speakers = new Set([...program, ...nameAll(session.agent, session.model, session.client)]);
  const lines = [
    `**${escapeMarkdown(formatTitle(session, Number.POSITIVE_INFINITY))}**`,
    `${formatCount(session.eventCount, "event")}, last active ${formatAge(session.updatedAt)}`,
    ...(speakers.size === 0 ? [] : [[...speakers].map(escapeMarkdown).join(" · ")]),
    ...(session.forkedFrom === null ? [] : [describeFork(session, original)]),
    escapeMarkdown(formatPlace(session, session.directory)),
    ...nameAll(session.sharedBy).map((name) => `Shared by ${escapeMarkdown(name)}.`),
    ...(isCurrent ? ["The current conversation of this folder."] : []),
    ...(session.archivedAt === null ? [] : [`Archived ${formatAge(session.archivedAt)}.`]),
  ];
  return new vscode.MarkdownString(lines.join("\n\n"));
}

function describeFork({ forkedAt }: Session, original: Session | undefined): string {
  const name = original === undefined ? "another conversation" : `“${escapeMarkdown(formatTitle(original))}”`;
  return `A fork of ${name}: the first ${formatCount(forkedAt ?? 0, "event")} are the same.`;
}

function chooseIcon({ archivedAt, forkedFrom, source }: Session, isCurrent: boolean): vscode.ThemeIcon {
  if (archivedAt !== null && !isCurrent) {
    return new vscode.ThemeIcon("archive");
  }
  const color = isCurrent ? new vscode.ThemeColor("charts.green") : undefined;
  const icon = isCurrent ? "comment-discussion" : source === null ? "comment" : "terminal";
  return new vscode.ThemeIcon(forkedFrom !== null ? "repo-forked" : icon, color);
}

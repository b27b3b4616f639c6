// The nodes of the view "Conversations", and how they are arranged.

import { nameDay } from "./days";
import type { Session } from "./protocol";
import type { Hit } from "./search";

/** A workspace folder, if there are several. */
export interface FolderNode {
  kind: "folder";
  folder: string;
  children: Node[];
}

/** The conversations that were last active on these days. */
export interface DaysNode {
  kind: "days";
  folder: string;
  label: string;
  children: SessionNode[];
  parent: FolderNode | undefined;
}

/** A conversation in the tree. The commands of its context menu receive it as their argument. */
export interface SessionNode {
  kind: "session";
  folder: string;
  session: Session;
  /** What a search has found in it. */
  hits?: Hit[];
  parent?: FolderNode | DaysNode | undefined;
}

/** A place in a conversation that a search has found. */
export interface HitNode {
  kind: "hit";
  hit: Hit;
  parent: SessionNode;
}

/** "Load more…" */
export interface MoreNode {
  kind: "more";
  /** Undefined: of the search. */
  folder: string | undefined;
  parent: FolderNode | undefined;
}

export type Node = FolderNode | DaysNode | SessionNode | HitNode | MoreNode;

/** The newest conversations of a folder, newest first. */
export interface FolderList {
  folder: string;
  sessions: readonly Session[];
  hasMore: boolean;
}

/** Arrange lists by day; each below its folder if there are several. Without any conversation, there are no nodes. */
export function arrangeByDay(lists: readonly FolderList[], now = new Date()): Node[] {
  if (lists.every(({ sessions }) => sessions.length === 0)) {
    return [];
  }
  const [first, ...others] = lists;
  return first !== undefined && others.length === 0
    ? arrangeFolder(first, undefined, now)
    : lists.map((list) => createFolder(list.folder, (parent) => arrangeFolder(list, parent, now)));
}

function arrangeFolder({ folder, sessions, hasMore }: FolderList, parent: FolderNode | undefined, now: Date): Node[] {
  const days: DaysNode[] = [];
  for (const session of sessions) {
    const label = nameDay(session.updatedAt, now);
    let group = days.find((each) => each.label === label);
    if (group === undefined) {
      group = { kind: "days", folder, label, children: [], parent };
      days.push(group);
    }
    group.children.push({ kind: "session", folder, session, parent: group });
  }
  return hasMore ? [...days, { kind: "more", folder, parent }] : days;
}

/**
 * Arrange what a search has found, in its order, below the conversations that have it; each of these below its folder if
 * *isByFolder*. *anyFolder* stands for the folder of hits that were searched for everywhere.
 */
export function arrangeHits(hits: readonly Hit[], hasMore: boolean, isByFolder: boolean, anyFolder: string): Node[] {
  const sessions = new Map<string, SessionNode & { hits: Hit[] }>();
  for (const hit of hits) {
    const { session, folder = anyFolder } = hit;
    const node = sessions.get(session.sessionId) ?? { kind: "session", folder, session, hits: [] };
    node.hits.push(hit);
    sessions.set(session.sessionId, node);
  }
  const found = [...sessions.values()];
  const inFolder = (folder: string, parent: FolderNode) =>
    found.filter((node) => node.folder === folder).map((node) => Object.assign(node, { parent }));
  const top: Node[] = isByFolder
    ? [...new Set(found.map(({ folder }) => folder))].map((folder) => createFolder(folder, (parent) => inFolder(folder, parent)))
    : found;
  return hasMore ? [...top, { kind: "more", folder: undefined, parent: undefined }] : top;
}

function createFolder(folder: string, arrange: (parent: FolderNode) => Node[]): FolderNode {
  const node: FolderNode = { kind: "folder", folder, children: [] };
  node.children = arrange(node);
  return node;
}

/** The nodes below a node. */
export function getChildren(node: Node): Node[] {
  switch (node.kind) {
    case "folder":
    case "days":
      return node.children;
    case "session":
      return (node.hits ?? []).map((hit) => ({ kind: "hit", hit, parent: node }));
    default:
      return [];
  }
}

/** All conversations below some nodes, from top to bottom. */
export function listSessions(nodes: readonly Node[]): SessionNode[] {
  return nodes.flatMap((node) => (node.kind === "session" ? [node] : listSessions(getChildren(node))));
}

/** The conversation below *node* in the tree, else the one above it; undefined if there is no other. */
export function findNeighbor(roots: readonly Node[], node: SessionNode): SessionNode | undefined {
  const sessions = listSessions(roots);
  const index = sessions.findIndex((each) => isSame(each, node));
  return sessions[index + 1] ?? sessions[index - 1];
}

/** The node of the tree for the same conversation. */
export function findSession(roots: readonly Node[], node: SessionNode): SessionNode | undefined {
  return listSessions(roots).find((each) => isSame(each, node));
}

function isSame(one: SessionNode, other: SessionNode): boolean {
  return one.folder === other.folder && one.session.sessionId === other.session.sessionId;
}

import assert from "node:assert/strict";
import { test } from "node:test";
import { arrangeByDay, arrangeHits, findNeighbor, getChildren, type Node, type SessionNode } from "../../../../editors/vscode/src/conversationsTree.ts";
import { nameDay } from "../../../../editors/vscode/src/days.ts";
import type { Session } from "../../../../editors/vscode/src/protocol.ts";
import type { Hit } from "../../../../editors/vscode/src/search.ts";

process.env["TZ"] = "Pacific/Auckland"; // thirteen hours before UTC in summer, and twelve in winter

const nameAll = (now: string, times: string[]) => times.map((time) => nameDay(new Date(time).toISOString(), new Date(now)));

test("days and months are those of the local time", () => {
  const times = [
    "2026-03-20T10:00+13:00", // in the future
    "2026-03-15T00:00+13:00",
    "2026-03-14T23:59+13:00",
    "2026-03-14T00:00+13:00",
    "2026-03-13T23:59+13:00",
    "2026-03-08T00:00+13:00",
    "2026-03-07T23:59+13:00",
    "2026-01-01T00:00+13:00",
    "2025-12-31T23:59+13:00",
    "2024-03-15T12:00+13:00",
  ];
  assert.deepEqual(nameAll("2026-03-15T12:00+13:00", times), [
    "Today", "Today", "Yesterday", "Yesterday", "Previous 7 days", "Previous 7 days", "March", "January", "December 2025", "March 2024",
  ]);
});

test("days begin at midnight where the clock was changed", () => {
  // On 5 April 2026 the day had 25 hours: at 03:00, summer time ended.
  assert.deepEqual(nameAll("2026-04-06T00:30+12:00", ["2026-04-05T00:00+13:00", "2026-04-04T23:59+13:00"]), ["Yesterday", "Previous 7 days"]);
});

const NOW = new Date("2026-03-15T12:00+13:00");
const session = (sessionId: string, updatedAt: string) => ({ sessionId, updatedAt: new Date(updatedAt).toISOString() }) as Session;
const LISTS = [
  { folder: "file:///a", sessions: [session("1", "2026-03-15T11:00+13:00"), session("2", "2026-03-15T10:00+13:00"), session("3", "2025-01-01T10:00+13:00")], hasMore: true },
  { folder: "file:///b", sessions: [session("1", "2026-03-15T11:00+13:00")], hasMore: false },
];

/** The tree as text: a row for each node. */
function draw(nodes: readonly Node[], indent = ""): string[] {
  return nodes.flatMap((node) => {
    const text = node.kind === "days" ? node.label : node.kind === "session" ? node.session.sessionId : node.kind === "folder" ? node.folder : node.kind;
    return [`${indent}${text}`, ...draw(getChildren(node), `${indent}  `)];
  });
}

test("the list of one folder is arranged by day, those of several by folder, and empty ones have no rows", () => {
  const [first] = LISTS;
  assert.ok(first);
  const expected = ["Today", "  1", "  2", "January 2025", "  3", "more"];
  assert.deepEqual(draw(arrangeByDay([first], NOW)), expected);
  assert.deepEqual(draw(arrangeByDay(LISTS, NOW)), ["file:///a", ...expected.map((line) => `  ${line}`), "file:///b", "  Today", "    1"]);
  assert.deepEqual(arrangeByDay(LISTS.map(({ folder }) => ({ folder, sessions: [], hasMore: false }))), []);
});

test("every node knows the one above it", () => {
  const check = (nodes: readonly Node[], above: Node | undefined) => {
    for (const node of nodes) {
      assert.equal(node.kind === "folder" ? undefined : node.parent, above);
      check(getChildren(node), node);
    }
  };
  check(arrangeByDay(LISTS, NOW), undefined);
  const hit = { session: session("1", "2026-03-15T11:00+13:00"), folder: "file:///a", event: null, excerpt: [] } as unknown as Hit;
  check(arrangeHits([hit], true, true, "file:///a"), undefined);
  check(arrangeHits([hit], true, false, "file:///a"), undefined);
});

test("the neighbor of a row is below it, and that of the last one above it", () => {
  const roots = arrangeByDay(LISTS.slice(0, 1), NOW);
  const sessionsOf = (id: string) => ({ kind: "session", folder: "file:///a", session: session(id, "2026-03-15T11:00+13:00") }) as SessionNode;
  assert.deepEqual(["1", "2", "3"].map((id) => findNeighbor(roots, sessionsOf(id))?.session.sessionId), ["2", "3", "2"]);
  assert.equal(findNeighbor(arrangeByDay(LISTS.slice(1), NOW), { ...sessionsOf("1"), folder: "file:///b" }), undefined);
});

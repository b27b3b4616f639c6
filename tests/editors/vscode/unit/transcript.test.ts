import assert from "node:assert/strict";
import { test } from "node:test";
import { formatLocalTime } from "../../../../editors/vscode/src/format.ts";
import type { Event, Invocation, Session } from "../../../../editors/vscode/src/protocol.ts";
import { findBlockId, renderHead, TranscriptRenderer } from "../../../../editors/vscode/src/transcript.ts";
import { findTurns } from "../../../../editors/vscode/src/turns.ts";
import { createEvent, createSession } from "./factories.ts";

interface Options {
  session?: Partial<Session>;
  hasNewer?: boolean;
  invocations?: Invocation[];
}

function render(events: Event[], { session, hasNewer = false, invocations = [] }: Options = {}) {
  const shown = { events, hasNewer, invocations: new Map(invocations.map((each) => [each.id, each])) };
  return new TranscriptRenderer().render(createSession(session), shown);
}

const toEvents = (...events: [type: string, data: unknown][]) => events.map(([type, data], index) => createEvent(index + 1, type, data));
const renderOne = (type: string, data: unknown, more: Partial<Event> = {}) => render([createEvent(1, type, data, more)])[0]?.html ?? "";
const summary = (label: string, hint: string) => `<summary><b>${label}</b> <span class="hint">${hint}</span></summary>`;

test("messages are Markdown below who said them, and everything else is folded or a note", () => {
  const time = formatLocalTime("2026-08-01T12:34:56.000Z");
  assert.match(renderOne("user_message", { content: "*Hello*" }), new RegExp(`^<h2 class="user">You <small><span>${time}</span></small></h2><div class="prose"><p><em>Hello`));
  assert.match(renderOne("text", { content: "Hi", model: "acme/m-1" }), /<h2 class="assistant">Assistant <small><span>acme\/m-1<\/span>/);
  assert.ok(renderOne("thinking", { content: "a\n**b**" }).includes(`<details>${summary("Thinking", "a **b**")}<div class="prose"><p>a\n<strong>`));
  assert.ok(renderOne("system_context", { content: "a\nb" }).includes(`<details>${summary("Context", "a b")}<pre>a\nb</pre></details>`));
  assert.ok(renderOne("plan", { entries: [{ content: "one", status: "completed" }, "two"] }).includes(`${summary("Plan", "1 of 2 done")}<pre>[x] one\n[ ] two</pre>`));
  assert.ok(renderOne("out_of_band_output", { name: "ls", command: "ls -l", content: "x" }).includes(summary("ls", "ls -l")));
  assert.ok(renderOne("skill_invocation", { name: "commit", content: "x" }).includes(summary("Skill commit", "")));
  assert.ok(renderOne("turn_end", { stop_reason: "max_tokens" }).includes('<p class="note">The turn ended: max_tokens</p>'));
  assert.ok(renderOne("turn_end", { stop_reason: "error", error: "a" }).includes("The turn ended with an error: a"));
  assert.equal(renderOne("turn_end", { stop_reason: "end_turn" }), "");
  assert.ok(renderOne("of_the_future", { any: 1 }).includes(summary("of_the_future", "")));
  assert.ok(renderOne("text", "broken {", { corrupt: true }).includes(`${summary("text", "unreadable")}<pre>broken {</pre>`));
});

test("a tool call is folded with its result and its permission, in a run of tools", () => {
  const events = toEvents(
    ["tool_call", { id: "1", name: "grep", input: { query: "x", n: 2 } }],
    ["tool_call", { id: "2", name: "run", input: { command: "ls\nls" } }],
    ["permission", { tool_use_id: "2", options: [], outcome: "selected", option: "always" }],
    ["tool_result", { tool_use_id: "2", content: "\x1b[31mno\x1b[0m", is_error: true }],
    ["tool_result", { tool_use_id: "1", content: "found" }],
    ["tool_result", { tool_use_id: "gone", content: "late" }],
  );
  const blocks = render(events);
  assert.equal(blocks.length, 1);
  const [, ...folds] = blocks[0]?.html.split("<details>") ?? [];
  assert.deepEqual(folds, [
    `${summary("grep", "x")}<pre>query: x\nn: 2</pre><pre>found</pre></details>`,
    '<summary><b>run</b> <span class="failed">failed</span> <span class="hint">ls ls</span></summary>' +
      "<pre>command:\nls\nls</pre><pre>Permission: selected: always</pre><pre>no</pre></details>",
    `${summary("Result", "late")}<pre>late</pre></details>`,
  ]);
});

test("a long text in a fold is cut, and says by how much", () => {
  const html = renderOne("tool_result", { tool_use_id: "1", content: "x".repeat(21_500) });
  assert.match(html, /x{20000}<\/pre><p class="note">1,500 more characters left out\./);
  assert.doesNotMatch(html, /x{20001}/);
});

test("a heading says who speaks only where that changes, and in which editor", () => {
  const events = [
    createEvent(1, "user_message", { content: "a" }, { invocationId: "1" }),
    createEvent(2, "text", { content: "b", model: "m" }, { invocationId: "1" }),
    createEvent(3, "tool_call", { id: "1", name: "n", input: {} }, { invocationId: "1" }),
    createEvent(4, "text", { content: "c", model: "m" }, { invocationId: "1" }),
    createEvent(5, "text", { content: "d", model: "other" }, { invocationId: "2" }),
  ];
  const invocations = [{ id: "1", clientName: "Neovim", clientVersion: "1" }, { id: "2", clientName: "VS Code", clientVersion: null }];
  const headings = render(events, { invocations }).map(({ html }) => /^<h2.*<\/h2>/.exec(html)?.[0].replace(/<[^>]*>/g, "").replace(/ · 20.{14}| 20.{14}/, "") ?? "");
  assert.deepEqual(headings, ["You · Neovim", "Assistant m", "", "", "Assistant other · VS Code"]);
});

test("at the end of each turn one can fork, and go back but for the last one", () => {
  const events = toEvents(["user_message", { content: "a" }], ["text", { content: "b" }], ["system_context", { content: "c" }], ["user_message", { content: "d" }], ["turn_end", { stop_reason: "end_turn" }]);
  const actions = (options: Options) =>
    render(events, options).map(({ html }) => [...html.matchAll(/data-action="(\w+)" data-event="(\w+)"/g)].map(([, action, event]) => `${action} ${event}`));
  assert.deepEqual(actions({}), [[], ["fork e2", "goBack e2"], [], [], ["fork e5"]]);
  assert.deepEqual(actions({ session: { archivedAt: "2026-08-01T12:34:56.000Z" } }), [[], ["fork e2"], [], [], ["fork e5"]]);
  assert.deepEqual(actions({ hasNewer: true }), [[], ["fork e2", "goBack e2"], [], []]);
});

test("a fork says of what, and where it begins", () => {
  const session = { forkedFrom: "other", forkedAt: 1 };
  const events = toEvents(["user_message", { content: "a" }], ["text", { content: "b" }]);
  assert.deepEqual(render(events, { session }).map(({ html }) => html.includes("The fork begins here.")), [true, false]);
  assert.match(renderHead(createSession(session), { title: "the <first>" }), /A fork of <button class="link" data-action="original">“the &lt;first>”<\/button>: the first 1 event are the same\./);
  assert.match(renderHead(createSession(session)), /A fork of another conversation: /);
});

test("the head has the title, and where, when and with whom it was", () => {
  const facts = { source: "claude-code", model: "opus", agent: "Claude", branch: "main", directory: "/work/p", title: "The <title>" };
  const head = renderHead(createSession(facts)).replace(/<\/?span>/g, "");
  assert.match(head, /^<h1>The &lt;title><\/h1><p class="facts">Claude Code · Claude · opus · \/work\/p · main · 3 events · /);
});

test("what another user shares has that user's questions, and cannot be gone back in", () => {
  const session = { sharedBy: "Ada <x>" };
  const events = toEvents(["user_message", { content: "q1" }], ["text", { content: "a1" }], ["user_message", { content: "q2" }], ["text", { content: "a2" }]);
  const html = render(events, { session }).map((block) => block.html).join("");
  assert.deepEqual(html.match(/<h2 class="\w+">[^<]* </g), ["user", "assistant", "user", "assistant"].map((who) => `<h2 class="${who}">${who === "user" ? "Ada &lt;x>" : "Assistant"} <`));
  assert.match(html, /data-action="fork"/);
  assert.doesNotMatch(html, /data-action="goBack"/);
  assert.match(renderHead(createSession(session)), /shared by Ada &lt;x>/);
});

test("the pieces of a message are one block, in which each of them is found", () => {
  const piece = (type: string, content: string, message: string): [string, unknown] => [type, { content, message }];
  const events = toEvents(piece("thinking", "Let ", "1"), piece("thinking", "me", "1"), piece("text", "I **lo", "2"), piece("text", "ok**.", "2"), piece("text", "other", "3"));
  const blocks = render(events);
  assert.deepEqual(blocks.map(({ id }) => id), ["e1", "e3", "e5"]);
  assert.match(blocks[1]?.html ?? "", /I <strong>look<\/strong>\./);
  assert.deepEqual(["e2", "e4", "none"].map((id) => findBlockId(events, id)), ["e1", "e3", undefined]);
});

test("only what has changed is rendered anew", () => {
  const renderer = new TranscriptRenderer();
  const events = toEvents(["user_message", { content: "a" }], ["tool_call", { id: "1", name: "n", input: {} }]);
  const shown = { events, invocations: new Map(), hasNewer: false };
  const [before, growing] = renderer.render(createSession(), shown);
  const result = createEvent(3, "tool_result", { tool_use_id: "1", content: "done" });
  const [after, grown] = renderer.render(createSession(), { ...shown, events: [...events, result] });
  assert.equal(after, before);
  assert.equal(grown?.id, growing?.id);
  assert.notEqual(grown?.key, growing?.key);
  assert.match(grown?.html ?? "", /done/);
});

test("a turn is a question with all that follows it, but for the note that another invocation begins", () => {
  const events = toEvents(
    ["text", { content: "before" }],
    ["user_message", { content: "one" }],
    ["tool_call", { id: "1", name: "n", input: {} }],
    ["text", { content: "answer" }],
    ["system_context", { content: "[another invocation]" }],
    ["user_message", { content: "two" }],
    ["user_message", "damaged"],
  );
  const turns = findTurns(events).map(({ question, last }) => [question, last.id]);
  assert.deepEqual(turns, [["one", "e4"], ["two", "e6"], ["", "e7"]]);
});

// No spelling of a link, a tag or an image, in no place of a conversation, becomes HTML that runs or loads anything.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
// @ts-expect-error: the packages of the extension are not found from this folder
import MarkdownIt from "markdown-it";
import { renderMarkdown } from "../../../../editors/vscode/src/markdownHtml.ts";
import { renderHead, TranscriptRenderer } from "../../../../editors/vscode/src/transcript.ts";
import { createEvent, createSession } from "./factories.ts";

// The tests run in `editors/vscode`.
const SPELLINGS: { targets: string[]; templates: string[]; contexts: string[] } = JSON.parse(
  readFileSync("../../tests/editors/vscode/unit/linkSpellings.json", "utf8"),
);
const PLACES: { [place: string]: (text: string) => [type: string, data: unknown, corrupt?: true] } = {
  user_message: (text) => ["user_message", { content: text }],
  text: (text) => ["text", { content: text }],
  model: (text) => ["text", { content: "x", model: text }],
  "tool name": (text) => ["tool_call", { id: "1", name: text, input: {} }],
  "tool input": (text) => ["tool_call", { id: "1", name: "n", input: { [text]: text } }],
  "tool input that is a string": (text) => ["tool_call", { id: "1", name: "n", input: text }],
  "tool result": (text) => ["tool_result", { tool_use_id: "1", content: text, is_error: false }],
  skill: (text) => ["skill_invocation", { name: text, arguments: text, content: text }],
  system_context: (text) => ["system_context", { content: text }],
  output: (text) => ["out_of_band_output", { name: text, command: text, content: text }],
  thinking: (text) => ["thinking", { content: text }],
  plan: (text) => ["plan", { entries: [text] }],
  permission: (text) => ["permission", { tool_use_id: "1", options: [text], outcome: text, option: text }],
  turn_end: (text) => ["turn_end", { stop_reason: text, error: text }],
  "unknown type": (text) => [text, {}],
  "unknown data": (text) => ["of_the_future", { a: text }],
  "corrupt data": (text) => ["text", text, true],
};

const TAGS = new Set(
  ("a b blockquote br button code details div em figcaption figure h1 h2 h3 h4 h5 h6 hr li ol p pre s small span strong summary table tbody " +
    "td th thead tr ul").split(" "),
);
const ATTRIBUTES = new Set(["class", "data-action", "data-event", "href", "start", "title"]);

/** What of rendered HTML is a tag, an attribute or a target that is not allowed. */
function findForbidden(html: string): string[] {
  const tags = html.match(/<(?:"[^"]*"|'[^']*'|[^>"'])*>/g) ?? [];
  return tags.flatMap((tag) => {
    const [, name = "", rest = ""] = /^<\/?([a-z0-9]*)(.*)>$/is.exec(tag) ?? [];
    const attributes = [...rest.matchAll(/\s([^\s=]+)(?:="([^"]*)")?/g)];
    const isAllowed = attributes.every(
      ([, key = "", value = ""]) => ATTRIBUTES.has(key) && (key !== "href" || /^(https?:\/\/|mailto:)/i.test(value)),
    );
    return TAGS.has(name) && isAllowed && rest.replace(/\s[^\s=]+(="[^"]*")?/g, "").trim() === "" ? [] : [tag];
  });
}

function fill(context: string, body: string): string {
  return context
    .replace("BODY1", () => body.replace(/\s*\n\s*/g, " "))
    .replace("BODY2", () => body.replace(/\n/g, "\n  "))
    .replace("BODY>", () => body.replace(/\n/g, "\n> "))
    .replace("BODY", () => body);
}

function* spell(): Generator<string> {
  for (const target of SPELLINGS.targets) {
    for (const template of SPELLINGS.templates) {
      yield template.replaceAll("TARGET", () => target);
    }
  }
  const bodies = ["[x](command:a.b)", "[x](<&#99;ommand:a.b>)", '<a href="command:a.b">x</a>', "<script>a()</script>", "<img src=x onerror=a()>"];
  for (const context of SPELLINGS.contexts) {
    for (const body of bodies) {
      yield fill(context, body);
    }
  }
  yield '"><script>a()</script>';
  yield "' onclick='a()' x='";
  yield '" onclick="a()" x="';
  yield "![x](https://example.org/a.png)";
  yield "```\"><script>a()</script>\n```";
  yield "```js\n</code></pre><script>a()</script>\n```";
  yield "</section></main><style>*{display:none}</style>";
}

for (const [place, create] of Object.entries(PLACES)) {
  test(`nothing that runs or loads, and no other link, comes from: ${place}`, () => {
    for (const text of spell()) {
      const [type, data, corrupt] = create(text);
      const events = [createEvent(1, type, data, { ...(corrupt ? { corrupt } : {}), id: text.slice(0, 128) })];
      const shown = { events, invocations: new Map(), hasNewer: false };
      const html = new TranscriptRenderer().render(createSession(), shown).map((block) => block.html).join("");
      assert.deepEqual(findForbidden(html), [], JSON.stringify({ text, html }));
    }
  });
}

test("nor from the facts about a conversation", () => {
  for (const text of spell()) {
    const names = { title: text, client: text, agent: text, model: text, branch: text, directory: text, machine: text, source: text };
    assert.deepEqual(findForbidden(renderHead(createSession({ ...names, forkedFrom: "x", forkedAt: 1 }), { title: text })), [], text);
  }
});

test("without the restrictions, the table does make forbidden HTML", () => {
  const engine = new MarkdownIt({ html: true, linkify: true });
  engine.validateLink = () => true;
  const live = [...spell()].filter((text) => findForbidden(engine.render(text)).length > 0);
  assert.ok(live.length > 800, `${live.length}`);
});

test("links to the web are links, files of the project are names, and images are links", () => {
  assert.equal(
    renderMarkdown("[x](https://example.org/a?b=c&d) <https://example.org>"),
    '<p><a href="https://example.org/a?b=c&amp;d" title="https://example.org/a?b=c&amp;d">x</a> ' +
      '<a href="https://example.org" title="https://example.org">https://example.org</a></p>\n',
  );
  assert.equal(renderMarkdown("[parser.py](src/parser.py)"), '<p><span class="path">parser.py</span></p>\n');
  assert.match(renderMarkdown("![a cat](https://example.org/cat.png)"), /^<p><a href="https:\/\/example.org\/cat.png" title="[^"]*">Image: a cat<\/a><\/p>$/m);
  assert.equal(renderMarkdown("![a cat](cat.png)"), "<p>Image: a cat</p>\n");
});

test("code is highlighted if its language is known, and shown as it is if not", () => {
  assert.match(renderMarkdown("```python\ndef f(): pass\n```"), /<span class="hljs-keyword">def<\/span>/);
  assert.match(renderMarkdown("```ts title=x\nconst a = 1\n```"), /<figcaption><span>ts<\/span><button.*<span class="hljs-keyword">const<\/span>/);
  assert.match(renderMarkdown("```brainfuck\n<>\n```"), /<pre><code>&lt;>\n<\/code>/);
  assert.doesNotMatch(renderMarkdown(`\`\`\`python\n${"def f(): pass\n".repeat(2_000)}\`\`\``), /hljs/);
});

test("headings are lowered, and a table has no style of its own", () => {
  assert.match(renderMarkdown("# a\n\n##### b"), /<h3>a<\/h3>\s*<h6>b<\/h6>/);
  assert.match(renderMarkdown("|a|\n|--:|\n|1|"), /<th class="right">a<\/th>/);
});

test("hostile text takes no long time", () => {
  const start = process.cpuUsage();
  for (const text of ["<a`]:](//$$", "  ```x\n", "[", "> ", "* ", "**a ", "![](", "`", "\x1b]", "https://a@"]) {
    renderMarkdown(text.repeat(Math.floor(90_000 / text.length)));
  }
  assert.ok(process.cpuUsage(start).user < 10_000_000, `${process.cpuUsage(start).user}`);
});

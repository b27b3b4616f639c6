// Renders transcripts with the Markdown engine of VS Code: no spelling of a target, in no place, becomes a link to
// anything but http, https, mailto and headings.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
// @ts-expect-error: it is installed with vsce, without its types
import MarkdownIt from "markdown-it";
import type { Event } from "../../../../editors/vscode/src/protocol.ts";
import { restrictLinks } from "../../../../editors/vscode/src/safeMarkdown.ts";
import { renderTranscript } from "../../../../editors/vscode/src/transcript.ts";

// The tests run in `editors/vscode`. The same table is rendered in a real VS Code: see api-tests/main.js.
const SPELLINGS: { targets: string[]; templates: string[]; contexts: string[] } = JSON.parse(
  readFileSync("../../tests/editors/vscode/api-tests/linkSpellings.json", "utf8"),
);
const PLACES: { [place: string]: (text: string) => { title?: string; type: string; data: unknown } } = {
  title: (text) => ({ title: text, type: "text", data: { content: "x" } }),
  user_message: (text) => ({ type: "user_message", data: { content: text } }),
  text: (text) => ({ type: "text", data: { content: text } }),
  "tool name": (text) => ({ type: "tool_call", data: { id: "1", name: text, input: {} } }),
  "tool input": (text) => ({ type: "tool_call", data: { id: "1", name: "n", input: { a: text } } }),
  "tool input that is a string": (text) => ({ type: "tool_call", data: { id: "1", name: "n", input: text } }),
  "tool result": (text) => ({ type: "tool_result", data: { tool_use_id: "1", content: text, is_error: false } }),
  "skill name": (text) => ({ type: "skill_invocation", data: { name: text, content: "x" } }),
  "skill content": (text) => ({ type: "skill_invocation", data: { name: "n", content: text } }),
  system_context: (text) => ({ type: "system_context", data: { content: text } }),
  "output name": (text) => ({ type: "out_of_band_output", data: { name: text, content: "x" } }),
  "output content": (text) => ({ type: "out_of_band_output", data: { name: "n", content: text } }),
  thinking: (text) => ({ type: "thinking", data: { content: text } }),
  plan: (text) => ({ type: "plan", data: { entries: [text] } }),
  permission: (text) => ({ type: "permission", data: { tool_use_id: "1", options: [text], outcome: text } }),
  turn_end: (text) => ({ type: "turn_end", data: { stop_reason: text, error: text } }),
  "unknown type": (text) => ({ type: text, data: {} }),
  "unknown data": (text) => ({ type: "of_the_future", data: { a: text } }),
  "corrupt data": (text) => ({ type: "text", data: text }),
};

// The options of the preview.
const engine = new MarkdownIt({ html: true, linkify: true });
engine.linkify.set({ fuzzyLink: false });

function fill(context: string, body: string): string {
  return context
    .replace("BODY1", () => body.replace(/\s*\n\s*/g, " "))
    .replace("BODY2", () => body.replace(/\n/g, "\n  "))
    .replace("BODY>", () => body.replace(/\n/g, "\n> "))
    .replace("BODY", () => body);
}

/** Every target in rendered HTML: of links, images, forms. */
function findTargets(html: string): string[] {
  const tags = html.match(/<[a-z](?:"[^"]*"|'[^']*'|[^>"'])*>/gi) ?? [];
  return tags.flatMap((tag) =>
    [...tag.matchAll(/[\s:"'](?:href|src|action|formaction)\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s>]*))/gi)].map(
      ([, double, single, bare]) => double ?? single ?? bare ?? "",
    ),
  );
}

const isForbidden = (target: string) => !/^(https?:\/\/|mailto:|#)/i.test(target);

function renderPlace(place: string, text: string, next: string): string {
  const { title = "T", type, data } = (PLACES[place] as (typeof PLACES)[string])(text);
  const event: Event = { id: "e", seq: 1, parentId: null, invocationId: "i", createdAt: "2026-08-01T12:34:56.000Z", type, data };
  const following: Event = { ...event, id: "f", seq: 2, type: "text", data: { content: next } };
  return renderTranscript({ title }, [event, following], 0).text;
}

/** Assert that nothing forbidden is linked; *text* may also harm the event that follows. */
function check(place: string, text: string): void {
  const markdown = renderPlace(place, text, "```\n[y](command:y)\n```\n[z](command:z)");
  const targets = findTargets(engine.render(markdown)).filter(isForbidden);
  assert.deepEqual(targets, [], JSON.stringify({ place, text, markdown }));
}

const SOME = ["[x](command:a.b)", "[x](<&#99;ommand:a.b>)", '<a href="command:a.b">x</a>', "[r]\n\n[r]: command:a.b"];

for (const place of Object.keys(PLACES)) {
  test(`no spelling becomes a forbidden link in: ${place}`, () => {
    for (const target of SPELLINGS.targets) {
      for (const template of SPELLINGS.templates) {
        check(place, template.replaceAll("TARGET", () => target));
      }
    }
    for (const context of SPELLINGS.contexts) {
      for (const body of SOME) {
        check(place, fill(context, body));
      }
    }
  });
}

test("without the restriction the table does make forbidden links", () => {
  const raw = SPELLINGS.targets.flatMap((target) => SPELLINGS.templates.map((each) => each.replaceAll("TARGET", () => target)));
  const live = raw.filter((text) => findTargets(engine.render(text)).some(isForbidden));
  assert.ok(live.length > 400, `${live.length} of ${raw.length}`);
  const contexts = SPELLINGS.contexts.filter((each) => findTargets(engine.render(fill(each, "[x](command:a.b)"))).some(isForbidden));
  assert.ok(contexts.length > 10, `${contexts.length} of ${SPELLINGS.contexts.length}`);
});

test("allowed links are unchanged", () => {
  const markdown = [
    "[x](https://example.org/a?b=c&d=%20e) and [y](#heading \"t\") and ![z](https://example.org/z.png)",
    "<https://example.org> mailto:a@example.org [m](mailto:a@example.org) [r][1] http://example.org/a/b",
    "",
    "[1]: https://example.org/one",
  ].join("\n");
  const targets = findTargets(engine.render(restrictLinks(markdown)));
  assert.deepEqual(targets.sort(), findTargets(engine.render(markdown)).sort());
});

test("the content of code fences is unchanged", () => {
  for (const fence of ["```", "````", "~~~"]) {
    const code = `${fence}js\nconst a: Map<String> = b[0](c); // [x]: y <a href="z">\n  \`\`\n\n    d\n${fence}`;
    assert.equal(restrictLinks(`before\n\n${code}\nafter`), `before\n\n${code}\nafter`);
    assert.equal(engine.render(restrictLinks(code)), engine.render(code));
  }
  assert.equal(restrictLinks("````\n```\n<a>\n```\n````"), "````\n```\n<a>\n```\n````");
});

test("an indented fence stays a fence if it ends with its indentation, whatever is around it", () => {
  const list = "1. Run:\n\n   ```sh\n   npm i\n\n     ok\n   ```\n\n   Then go on.";
  assert.equal(restrictLinks(list), list);
  assert.equal(restrictLinks("* ```\n  [x](y)\nz"), "* \u200b```\n  [x]\u200b(y)\nz");
});

test("a type argument in inline code is unchanged", () => {
  assert.equal(restrictLinks("Use `Map<String, List<T>>` here, not <b>."), "Use `Map<String, List<T>>` here, not <\u200bb>.");
});

test("a fence follows a blank line, and extensions of the preview see no block of theirs", () => {
  assert.equal(restrictLinks("a | b\n- | -\n```\nc\n```"), "a | b\n- | -\n\n```\nc\n```");
  assert.equal(restrictLinks("$$\n> ::: mermaid"), "$\u200b$\n> :\u200b:: mermaid");
});

test("a fence that is not closed ends with its event", () => {
  assert.equal(restrictLinks("a\n\n````\ncode"), "a\n\n````\ncode\n````");
  const html = engine.render(renderPlace("text", "```\ncode", "second"));
  assert.match(html, /<p>second<\/p>/);
});

test("a title is shown as it is", () => {
  const title = "# 1. *a* _b_ `c` <d> [e](https://f) &amp; \\ ~~g~~ $h$ ![i](j) | k #";
  const html: string = engine.render(renderPlace("title", title, "x"));
  const shown = /<h1>(.*)<\/h1>/.exec(html)?.[1] ?? "";
  const text = shown.replace(/<[^>]*>/g, "").replace(/&lt;/g, "<").replace(/&gt;/g, ">").replace(/&amp;/g, "&");
  assert.equal(text.replaceAll("\u200b", ""), title);
});

test("hostile text takes no long time", () => {
  const start = process.cpuUsage();
  restrictLinks("<a`]:](//$$".repeat(100_000));
  restrictLinks("  ```x\n".repeat(30_000));
  assert.ok(process.cpuUsage(start).user < 2_500_000);
});

// Markdown of messages as HTML that runs nothing and loads nothing: tags are shown as text, images are links, and links
// lead to http, https and mailto only. The Content-Security-Policy of the page forbids the rest a second time.

import hljs from "highlight.js/lib/core";
import bash from "highlight.js/lib/languages/bash";
import c from "highlight.js/lib/languages/c";
import cpp from "highlight.js/lib/languages/cpp";
import csharp from "highlight.js/lib/languages/csharp";
import css from "highlight.js/lib/languages/css";
import diff from "highlight.js/lib/languages/diff";
import go from "highlight.js/lib/languages/go";
import ini from "highlight.js/lib/languages/ini";
import java from "highlight.js/lib/languages/java";
import javascript from "highlight.js/lib/languages/javascript";
import json from "highlight.js/lib/languages/json";
import kotlin from "highlight.js/lib/languages/kotlin";
import lua from "highlight.js/lib/languages/lua";
import makefile from "highlight.js/lib/languages/makefile";
import php from "highlight.js/lib/languages/php";
import python from "highlight.js/lib/languages/python";
import ruby from "highlight.js/lib/languages/ruby";
import rust from "highlight.js/lib/languages/rust";
import scala from "highlight.js/lib/languages/scala";
import shell from "highlight.js/lib/languages/shell";
import sql from "highlight.js/lib/languages/sql";
import swift from "highlight.js/lib/languages/swift";
import typescript from "highlight.js/lib/languages/typescript";
import vim from "highlight.js/lib/languages/vim";
import xml from "highlight.js/lib/languages/xml";
import yaml from "highlight.js/lib/languages/yaml";
import MarkdownIt from "markdown-it";
import type Token from "markdown-it/lib/token.mjs";
import { escapeHtml, escapePreformatted, makeReadable } from "./html";

const LANGUAGES = {
  bash, c, cpp, csharp, css, diff, go, ini, java, javascript, json, kotlin, lua, makefile, php, python, ruby, rust, scala,
  shell, sql, swift, typescript, vim, xml, yaml,
};
/** Characters of a message in Markdown. A longer one is shown as it is: to parse it could take long. */
const MAX_LENGTH = 100_000;
/** Characters of code that is highlighted. */
const MAX_CODE_LENGTH = 20_000;
const MAX_LANGUAGE_LENGTH = 30;
/** By how many levels the headings of messages are lowered: the title of the page and the speakers are above them. */
const LOWERED = 2;
const LINK = /^(?:https?:\/\/|mailto:)/i;
/** A file of the project: it is shown as a name, because it leads nowhere from here. */
const PATH = /^(?![a-z][a-z0-9+.-]*:|[/\\]{2}|#)[\x21-\x7e]+$/i;
const ALIGNMENT = /text-align:(left|center|right)/;

for (const [name, language] of Object.entries(LANGUAGES)) {
  hljs.registerLanguage(name, language);
}

const engine = new MarkdownIt({ html: false, linkify: true });
engine.linkify.set({ fuzzyLink: false, fuzzyEmail: false });
engine.validateLink = (target) => LINK.test(target) || PATH.test(target);
engine.renderer.rules["fence"] = (tokens, index) => {
  const token = tokens[index];
  return token === undefined ? "" : renderCode(token.content, token.info.trim().split(/\s+/)[0] ?? "");
};
engine.renderer.rules["code_block"] = (tokens, index) => renderCode(tokens[index]?.content ?? "", "");
engine.renderer.rules["image"] = (tokens, index) => renderImage(tokens[index]);
engine.core.ruler.push("segue", ({ tokens }) => tokens.forEach(adapt));

/** Render a message. */
export function renderMarkdown(text: string): string {
  const readable = makeReadable(text);
  return readable.length > MAX_LENGTH ? `<pre>${escapePreformatted(readable)}</pre>` : engine.render(readable);
}

function adapt(token: Token): void {
  if (token.type === "heading_open" || token.type === "heading_close") {
    token.tag = `h${Math.min(6, Number(token.tag.slice(1)) + LOWERED)}`;
  }
  const [, alignment] = ALIGNMENT.exec(token.attrGet("style") ?? "") ?? [];
  if (alignment !== undefined) {
    token.attrs = [["class", alignment]]; // the policy of the page allows no style in a tag
  }
  let isPath = false;
  for (const child of token.children ?? []) {
    if (child.type === "link_open") {
      const target = child.attrGet("href") ?? "";
      isPath = !LINK.test(target);
      child.attrs = isPath ? [["class", "path"]] : [["href", target], ["title", target]];
    }
    if (isPath && child.type.startsWith("link_")) {
      child.tag = "span";
    }
  }
}

function renderImage(image: Token | undefined): string {
  const source = image?.attrGet("src") ?? "";
  const name = `Image: ${image?.content || source}`;
  return LINK.test(source) ? `<a href="${escapeHtml(source)}" title="${escapeHtml(source)}">${escapeHtml(name)}</a>` : escapeHtml(name);
}

function renderCode(code: string, language: string): string {
  const name = language === "" ? "" : `<span>${escapeHtml(language.slice(0, MAX_LANGUAGE_LENGTH))}</span>`;
  const caption = `<figcaption>${name}<button class="copy">Copy</button></figcaption>`;
  return `<figure>${caption}<pre><code>${highlight(code, language.toLowerCase())}</code></pre></figure>\n`;
}

function highlight(code: string, language: string): string {
  return code.length > MAX_CODE_LENGTH || hljs.getLanguage(language) === undefined
    ? escapePreformatted(code)
    : hljs.highlight(code, { language, ignoreIllegals: true }).value;
}

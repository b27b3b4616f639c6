// The page of a transcript: what it is told, what it tells, its style and its script.

import type { RenderedBlock } from "./transcript";

/** What the page tells. */
export type FromPage =
  | { kind: "ready" | "older" | "newer" | "newest" | "original" | "goOn" }
  | { kind: "fork" | "goBack"; event: string }
  | { kind: "copy"; text: string };

/** Where to find something: in a block, the first match of the first of these patterns that has one, which is its only group. */
export interface Target {
  block: string;
  patterns: string[];
}

/** What the page shows. */
export interface ToPage {
  head: string;
  /** All of them in their order; with their HTML if the page does not have it. */
  blocks: (Pick<RenderedBlock, "id"> & { html?: string })[];
  hasOlder: boolean;
  hasNewer: boolean;
  /** What to do with the conversation, and why, as text. */
  action: { title: string; note: string };
  /** Where to scroll: to the end, to what was found, or nowhere unless the page is at its end. */
  scroll: "end" | "top" | "keep" | Target;
  /** For VS Code, which restores the transcript with it after a restart of the window. */
  state: unknown;
}

const STYLE = `
:root{--string:#0a6640;--keyword:#a626a4;--comment:#57606a;--number:#875c00;--title:#005cc5;--type:#8a4600}
.vscode-dark,.vscode-high-contrast:not(.vscode-high-contrast-light){--string:#ce9178;--keyword:#569cd6;--comment:#7ca668;--number:#b5cea8;--title:#dcdcaa;--type:#4ec9b0}
*{box-sizing:border-box}
body{display:flex;flex-direction:column;min-height:100vh;margin:0;padding:0 20px;color:var(--vscode-editor-foreground);background:var(--vscode-editor-background);font:var(--vscode-font-size,13px)/1.55 var(--vscode-font-family,sans-serif);overflow-wrap:anywhere}
main,header{width:100%;max-width:54rem;margin:0 auto}
header{padding:18px 0 10px}
h1{font-size:1.5em;line-height:1.25;margin:0 0 6px}
h1,h2,h3,h4,h5,h6{font-weight:600}
h3,h4,h5,h6{font-size:1.1em;margin:16px 0 6px}
h1,p,li,pre,summary,td,th,h3,h4,h5,h6{unicode-bidi:plaintext}
.facts,.note,.hint,small,.mark{color:var(--vscode-descriptionForeground)}
.facts{margin:2px 0}.facts span,small span{unicode-bidi:isolate}
h2{font-size:1em;margin:20px 0 6px;padding-top:14px;border-top:1px solid var(--vscode-widget-border,var(--vscode-editorWidget-border,#8884))}
h2 small{font-weight:400;font-size:.92em;margin-inline-start:6px}
h2.user{color:var(--vscode-textLink-foreground)}
p,ul,ol,pre,table,blockquote,figure{margin:0 0 10px}
ul,ol{padding-inline-start:24px}
pre,code{font-family:var(--vscode-editor-font-family,monospace);font-size:var(--vscode-editor-font-size,12px)}
pre{background:var(--vscode-textCodeBlock-background);border-radius:4px;padding:8px 10px;white-space:pre-wrap}
figure{position:relative;background:var(--vscode-textCodeBlock-background);border-radius:4px}figure pre{margin:0;white-space:pre;overflow-x:auto;overflow-wrap:normal;background:none}
figcaption{font-size:.85em;color:var(--vscode-descriptionForeground);user-select:none}figcaption span{display:block;padding:4px 10px 0}
code{color:var(--vscode-textPreformat-foreground);background:var(--vscode-textPreformat-background,var(--vscode-textCodeBlock-background));border-radius:3px;padding:1px 4px}:not(pre)>code,.path{font-size:.95em}pre code{color:inherit;background:none;padding:0}
.path{font-family:var(--vscode-editor-font-family,monospace)}
.copy{position:absolute;top:3px;inset-inline-end:4px;padding:0 6px;opacity:0}figure:hover .copy,.copy:focus-visible{opacity:1}
details{margin:0 0 6px}details pre{max-height:30rem;overflow:auto;margin:6px 0}details .prose{margin:6px 0 6px 14px}
summary{cursor:pointer;padding:2px 0}summary b{font-weight:600}.hint{font-size:.95em}
.failed{color:var(--vscode-errorForeground)}
blockquote{margin-inline-start:0;padding-inline-start:12px;border-inline-start:3px solid var(--vscode-textBlockQuote-border,#8884);color:var(--vscode-descriptionForeground)}
table{display:block;border-collapse:collapse;overflow-x:auto}td,th{border:1px solid var(--vscode-widget-border,#8884);padding:3px 8px;text-align:start;overflow-wrap:break-word}
.left{text-align:left}.center{text-align:center}.right{text-align:right}
hr{border:0;border-top:1px solid var(--vscode-widget-border,#8884)}
a{color:var(--vscode-textLink-foreground)}a:hover{color:var(--vscode-textLink-activeForeground)}
button{font:inherit;padding:2px 9px;border:1px solid var(--vscode-button-border,transparent);border-radius:3px;cursor:pointer;color:var(--vscode-button-secondaryForeground);background:var(--vscode-button-secondaryBackground)}
button:hover{background:var(--vscode-button-secondaryHoverBackground)}
button:focus-visible,summary:focus-visible,a:focus-visible{outline:1px solid var(--vscode-focusBorder);outline-offset:1px}
button.primary{color:var(--vscode-button-foreground);background:var(--vscode-button-background)}button.primary:hover{background:var(--vscode-button-hoverBackground)}
button.link,.actions button{padding:0;border:0;background:none;color:var(--vscode-textLink-foreground)}button.link:hover,.actions button:hover{text-decoration:underline}
.actions{display:flex;flex-wrap:wrap;gap:2px 16px;margin:6px 0 12px;font-size:.92em}
.more{display:block;margin:10px auto}[hidden]{display:none!important}
.mark{display:flex;align-items:center;gap:10px}.mark::before,.mark::after{content:"";flex:1;border-top:1px dashed currentColor}
main{padding-bottom:18px}footer{position:sticky;bottom:0;margin:auto -20px 0;padding:8px 20px;background:var(--vscode-editorWidget-background,var(--vscode-editor-background));border-top:1px solid var(--vscode-widget-border,var(--vscode-editorWidget-border,#8884))}
footer div{display:flex;flex-wrap:wrap;align-items:center;gap:6px 12px;max-width:54rem;margin:0 auto}
#note{flex:1 1 12rem;color:var(--vscode-descriptionForeground)}
.hljs-comment,.hljs-quote{color:var(--comment)}
.hljs-keyword,.hljs-literal,.hljs-selector-tag,.hljs-section,.hljs-name{color:var(--keyword)}
.hljs-string,.hljs-regexp,.hljs-addition,.hljs-meta .hljs-string{color:var(--string)}
.hljs-number,.hljs-symbol,.hljs-bullet{color:var(--number)}
.hljs-title,.hljs-attr,.hljs-attribute,.hljs-selector-id,.hljs-selector-class{color:var(--title)}
.hljs-type,.hljs-built_in,.hljs-class{color:var(--type)}
.hljs-deletion{color:var(--vscode-errorForeground)}
.vscode-high-contrast pre,.vscode-high-contrast code,.vscode-high-contrast figure{border:1px solid var(--vscode-contrastBorder)}.vscode-high-contrast pre code,.vscode-high-contrast figure pre{border:0}
`;

// Blocks are set as HTML that the extension has made. The policy of the page lets no script of theirs run.
const SCRIPT = `
const vscode = acquireVsCodeApi();
const [head, main, older, newer, newest, goOn, note] =
  ["head", "blocks", "older", "newer", "newest", "goOn", "note"].map((id) => document.getElementById(id));
const page = document.scrollingElement;
const isAtEnd = () => page.scrollHeight - page.scrollTop - innerHeight < 40;
const send = (kind, more) => vscode.postMessage({ kind, ...more });
const toEnd = () => page.scrollTo(0, page.scrollHeight);

for (const button of [older, newer, newest, goOn]) {
  button.addEventListener("click", () => send(button.id));
}
document.addEventListener("click", ({ target }) => {
  const button = target.closest("button");
  if (button?.dataset.action !== undefined) {
    send(button.dataset.action, { event: button.dataset.event });
  } else if (button?.className === "copy") {
    send("copy", { text: button.closest("figure").querySelector("code").textContent });
    button.textContent = "Copied";
    setTimeout(() => (button.textContent = "Copy"), 1500);
  }
});
const noteEnd = () => (newest.hidden = newer.hidden && isAtEnd());
addEventListener("scroll", noteEnd);
addEventListener("resize", () => {
  if (newest.hidden) {
    toEnd(); // the lines are broken anew
  }
});

function setBlocks(blocks) {
  const elements = new Map([...main.children].map((element) => [element.dataset.block, element]));
  let next = main.firstChild;
  for (const { id, html } of blocks) {
    let element = elements.get(id);
    elements.delete(id);
    if (element === undefined) {
      element = document.createElement("section");
      element.dataset.block = id;
    }
    if (html !== undefined) {
      const open = [...element.querySelectorAll("details")].map((each) => each.open);
      element.innerHTML = html;
      element.querySelectorAll("details").forEach((each, index) => (each.open = open[index] ?? false));
    }
    if (element === next) {
      next = next.nextSibling;
    } else {
      main.insertBefore(element, next);
    }
  }
  elements.forEach((element) => element.remove());
}

function reveal({ block, patterns }) {
  const element = [...main.children].find((each) => each.dataset.block === block);
  if (element === undefined) {
    return;
  }
  const nodes = [];
  const walker = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
  let text = "";
  while (walker.nextNode()) {
    nodes.push([text.length, walker.currentNode]);
    text += walker.currentNode.data;
  }
  const place = (offset) => {
    const [start, node] = nodes.findLast(([each]) => each <= offset);
    return [node, offset - start];
  };
  const match = patterns.map((pattern) => new RegExp(pattern, "d").exec(text)).find((each) => each !== null);
  if (match == null) {
    element.scrollIntoView();
    return;
  }
  const [start, end] = match.indices[1];
  const range = document.createRange();
  range.setStart(...place(start));
  const [last, offset] = place(end - 1);
  range.setEnd(last, offset + 1);
  for (let each = range.startContainer.parentElement; each !== element; each = each.parentElement) {
    if (each.tagName === "DETAILS") {
      each.open = true;
    }
  }
  getSelection().removeAllRanges();
  getSelection().addRange(range);
  range.startContainer.parentElement.scrollIntoView({ block: "center" });
}

addEventListener("message", ({ data }) => {
  const wasAtEnd = isAtEnd();
  const anchor = [...main.children].find((each) => each.getBoundingClientRect().bottom > 0);
  const before = anchor?.getBoundingClientRect().top;
  head.innerHTML = data.head;
  older.hidden = !data.hasOlder;
  newer.hidden = !data.hasNewer;
  setBlocks(data.blocks);
  goOn.textContent = data.action.title;
  note.textContent = data.action.note;
  vscode.setState(data.state);
  if (data.scroll === "end" || (data.scroll === "keep" && wasAtEnd && !data.hasNewer)) {
    toEnd();
  } else if (data.scroll === "top") {
    page.scrollTo(0, 0);
  } else if (typeof data.scroll === "object") {
    reveal(data.scroll);
  } else if (anchor?.isConnected) {
    page.scrollBy(0, anchor.getBoundingClientRect().top - before);
  }
  noteEnd();
});
send("ready");
`;

/** The page. It loads nothing, and runs only the script that has the *nonce*. */
export function createTranscriptHtml(nonce: string): string {
  const policy = `default-src 'none'; style-src 'nonce-${nonce}'; script-src 'nonce-${nonce}'; base-uri 'none'; form-action 'none'`;
  return `<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<style nonce="${nonce}">${STYLE}</style>
</head>
<body>
<header id="head"></header>
<button id="older" class="more" hidden>Show Earlier</button>
<main id="blocks" aria-label="Conversation"></main>
<button id="newer" class="more" hidden>Show Later</button>
<footer><div><button id="goOn" class="primary"></button><span id="note" role="status"></span><button id="newest" hidden>Go to the End</button></div></footer>
<script nonce="${nonce}">${SCRIPT}</script>
</body>
</html>`;
}

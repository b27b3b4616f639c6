// The page of the search box.

/** What the page tells. */
export type FromBox = { kind: "ready" | "leave" | "everywhere" } | { kind: "text"; text: string };

/** What the page shows: of these, what is to change. */
export interface ToBox {
  text?: string;
  status?: string;
}

/** The page. It loads nothing, and runs only the script that has the *nonce*. */
export function createSearchBoxHtml(nonce: string): string {
  return `<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'nonce-${nonce}'; script-src 'nonce-${nonce}'">
<style nonce="${nonce}">
body { padding: 6px 12px; }
input {
  box-sizing: border-box;
  width: 100%;
  padding: 3px 6px;
  color: var(--vscode-input-foreground);
  background: var(--vscode-input-background);
  border: 1px solid var(--vscode-input-border, transparent);
  border-radius: 2px;
  font: inherit;
}
input:placeholder-shown { text-overflow: ellipsis; }
input::placeholder { color: var(--vscode-input-placeholderForeground); }
input:focus { outline: 1px solid var(--vscode-focusBorder); outline-offset: -1px; }
input::-webkit-search-cancel-button { filter: grayscale(1); }
p { margin: 6px 0; color: var(--vscode-descriptionForeground); overflow-wrap: anywhere; }
button { padding: 0; color: var(--vscode-textLink-foreground); background: none; border: none; font: inherit; cursor: pointer; }
button:hover { text-decoration: underline; }
button:focus-visible { outline: 1px solid var(--vscode-focusBorder); }
</style>
</head>
<body>
<input type="search" aria-label="Search conversations" aria-describedby="status" placeholder="Search conversations" spellcheck="false">
<p id="status" role="status"></p>
<button hidden>Search everywhere…</button>
<script nonce="${nonce}">
const vscode = acquireVsCodeApi();
const input = document.querySelector("input");
const status = document.querySelector("p");
const everywhere = document.querySelector("button");
const sendText = () => vscode.postMessage({ kind: "text", text: input.value });
everywhere.addEventListener("click", () => vscode.postMessage({ kind: "everywhere" }));
window.addEventListener("focus", () => input.focus());
input.addEventListener("input", sendText);
input.addEventListener("keydown", (event) => {
  // Escape clears a field of this type by itself.
  if (!event.isComposing && (event.key === "ArrowDown" || event.key === "Enter")) {
    vscode.postMessage({ kind: "leave" });
    event.preventDefault();
  }
});
window.addEventListener("message", ({ data }) => {
  input.value = data.text ?? input.value;
  status.textContent = data.status ?? status.textContent;
  everywhere.hidden = input.value.trim() === "";
});
vscode.postMessage({ kind: "ready" });
</script>
</body>
</html>`;
}

// Makes stored text safe to show as Markdown: its links lead to http, https, mailto and headings only. VS Code runs the
// command of a `command:` link on a click, so no stored text may become one, however it is spelled.

/** Between two characters, it is not displayed, and the two are no Markdown syntax any more. */
const BREAK = "\u200b";
const ALLOWED_TARGET = /^(?:https?:\/\/|mailto:|#)/i;
/** Characters of a line that is examined again for each `<` in it. */
const MAX_EXAMINED = 2_000;
/** Lines of a code fence in a list, with both fences. */
const MAX_NESTED_LINES = 500;
const FENCE = /^(?:(`{3,})[^`]*|(~{3,}).*)$/;
const CLOSING_FENCE = /^ {0,3}(`{3,}|~{3,})[ \t]*$/;
/** What could be a fence inside of a list or a quotation, or with an indentation. */
const NESTED_FENCE = /^([ \t>*+\-\d.)]+)(`{3,}|~{3,})/;

/**
 * Break every link, autolink and link definition in a Markdown document whose target is not allowed, and every tag.
 * No spelling of a target is interpreted: what does not begin literally with an allowed one is broken.
 *
 * The content of a code fence is unchanged if the fence begins in the first column: only there it is certain to be one.
 * A fence that is not closed is closed at the end, so that the text that follows the document cannot be drawn into it.
 */
export function restrictLinks(markdown: string): string {
  const lines = markdown.split("\n");
  const result: string[] = [];
  let fence: string | undefined;
  let endOfNested = -1;
  for (const [index, line] of lines.entries()) {
    if (fence !== undefined) {
      result.push(line);
      fence = isClosingFence(line, fence) ? undefined : fence;
      continue;
    }
    if (index > endOfNested && NESTED_FENCE.test(line)) {
      endOfNested = findEndOfNestedFence(lines, index);
      result.push(restrictLinksInLine(endOfNested === -1 ? line.replace(NESTED_FENCE, `$1${BREAK}$2`) : line));
      continue;
    }
    fence = findFence(line);
    if (fence !== undefined && result.length > 0 && result.at(-1) !== "") {
      result.push(""); // a table takes the line of a fence for its next row, in some versions of VS Code
    }
    result.push(restrictLinksInLine(line));
  }
  if (fence !== undefined) {
    result.push(fence);
  }
  return result.join("\n");
}

/** `restrictLinks` for a line that is not in a code fence. */
export function restrictLinksInLine(line: string): string {
  return breakSchemes(
    line
      .replace(/<(?!https?:\/\/[^\s<>"'`]*>)(?=[a-z/!?])/gi, (match, index: number) =>
        isTypeArgument(line, index) ? match : `<${BREAK}`,
      )
      .replace(/\](?=\()/g, (match, index: number, text: string) =>
        ALLOWED_TARGET.test(text.slice(index + 2, index + 12)) ? match : `]${BREAK}`,
      )
      .replace(/\](?=:)/g, (match, index: number, text: string) =>
        ALLOWED_TARGET.test(text.slice(index + 2, index + 40).trimStart()) ? match : `]${BREAK}`,
      )
      // Extensions of the preview read these as the start of a block, in which a fence is no fence.
      .replace(/\$(?=\$)/g, `$${BREAK}`)
      .replace(/^([ \t>*+\-\d.)]*):::/, `$1:${BREAK}::`),
  );
}

/** One line of stored text as Markdown that shows it as it is, in a heading too. */
export function escapeLine(text: string): string {
  return restrictLinksInLine(text.replace(/[\\`*_[\]<>&$~|#]/g, "\\$&"));
}

/** One line of stored text as code inside a line. */
export function codeLine(text: string): string {
  return `\`${restrictLinksInLine(text.replace(/`/g, "'")) || " "}\``;
}

function findFence(line: string): string | undefined {
  const match = FENCE.exec(line);
  return match?.[1] ?? match?.[2];
}

function isClosingFence(line: string, fence: string): boolean {
  const [, run = ""] = CLOSING_FENCE.exec(line) ?? [];
  return run.length >= fence.length && run[0] === fence[0];
}

/**
 * The index of the line that closes an indented fence, whatever is around it: a list, or nothing. -1 if that depends
 * on what is around it; then it must not be a fence, lest code and text change places from there on.
 */
function findEndOfNestedFence(lines: readonly string[], start: number): number {
  const [, indentation, fence] = /^( +)(`{3,}|~{3,})/.exec(lines[start] ?? "") ?? [];
  if (indentation === undefined || fence === undefined) {
    return -1;
  }
  const end = Math.min(lines.length, start + MAX_NESTED_LINES);
  for (let index = start + 1; index < end; index += 1) {
    const line = lines[index] ?? "";
    if (line.trimEnd().endsWith(fence) && isClosingFence(line.trimStart(), fence)) {
      return line.startsWith(indentation + fence) ? index : -1;
    }
    if (line !== "" && !line.startsWith(indentation)) {
      return -1;
    }
  }
  return -1;
}

/** Break `ftp://` and `//host`, which are links without any syntax around them; `http://` and `https://` are allowed. */
function breakSchemes(line: string): string {
  return line.replace(/https?:\/\/|\/(?=\/\S)/gi, (match) => (match === "/" ? `/${BREAK}` : match));
}

/**
 * Whether `<` begins something like `<String>` or `<String,` between backticks: common in answers about code, and
 * without attributes harmless even if it is a tag.
 */
function isTypeArgument(line: string, index: number): boolean {
  return line.length <= MAX_EXAMINED && /^<[a-z][a-z0-9]*[>,]/i.test(line.slice(index)) && isBetweenBackticks(line, index);
}

function isBetweenBackticks(line: string, index: number): boolean {
  const before = line.slice(0, index).split("`").length - 1;
  return before % 2 === 1 && line.includes("`", index);
}

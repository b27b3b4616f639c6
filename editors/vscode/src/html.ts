// Stored text as HTML that shows it as it is.

// A colour or a link of a terminal, and other sequences of it.
const ESCAPE_SEQUENCES = /\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[ -/]*[0-Z\\^-~])/g;
/** Control characters, those that reverse the direction of text, and halves of surrogate pairs. */
const UNSEEN = /[\0-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff]|\p{Cs}/gu;

/** A text for an element, or for an attribute in double quotes. */
export function escapeHtml(text: string): string {
  return text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/"/g, "&quot;");
}

/** A text without terminal sequences, and with what cannot be seen spelled out. Lines end with `\n`. */
export function makeReadable(text: string): string {
  return text
    .replace(/\r\n?/g, "\n")
    .replace(ESCAPE_SEQUENCES, "")
    .replace(UNSEEN, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

/** A text for a `<pre>`, whose first line break a browser would leave out. */
export function escapePreformatted(text: string): string {
  return `${text.startsWith("\n") ? "\n" : ""}${escapeHtml(text)}`;
}

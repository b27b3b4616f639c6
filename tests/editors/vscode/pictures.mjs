// Takes the pictures in the extension's README: `node tests/editors/vscode/pictures.mjs`.

import { writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { Place, within } from "./workbench.mjs";

process.env.SEGUE_SCREENSHOTS = join(dirname(fileURLToPath(import.meta.url)), "..", "..", "..", "editors", "vscode", "images");

const QUESTION = "Why is the last token lost?";
const ANSWER = `\`tokens[:-1]\` in **parser.py** drops it: the slice is meant to leave out the end marker, but the lexer \
yields none since it became a generator.

\`\`\`python
def parse(tokens):
    return list(tokens)
\`\`\`

A test with a single token would have caught it.`;
const FOLLOW_UP = "Which test shows it?";
const ANSWERS = {
  [QUESTION]: ANSWER,
  [FOLLOW_UP]: "Parse one token and compare:\n\n```python\ndef test_one_token():\n    assert parse(iter([NAME])) == [NAME]\n```",
};

const said = (content) => ({ type: "user_message", data: { content } });
const answered = (content) => ({ type: "text", data: { content } });
const CONVERSATIONS = [
  ["Write the changelog", 9_300, 7],
  ["A test for empty input", 4_400, 11],
  ["Rename parse to parse_all", 1_560, 3],
  ["Name the lexer's states", 190, 15],
  ["Make the tokenizer faster", 48, 21],
].map(([title, minutes, turns]) => ({
  minutes,
  events: Array.from({ length: turns }, (_, turn) => [said(turn ? `And ${turn}?` : title), answered("Done.")]).flat(),
}));
const FIRST = [said(QUESTION), answered(ANSWER)];
const SECOND = [said(FOLLOW_UP), answered(ANSWERS[FOLLOW_UP])];
const FILES = {
  "lexer.py": "def tokens(text):\n    yield from text.split()\n",
  "parser.py": `"""What the lexer's tokens mean."""

from lexer import tokens


def parse(tokens):
    """Leave out the end marker."""
    return list(tokens[:-1])


def parse_text(text):
    """Return the tokens of a text."""
    return parse(tokens(text))
`,
  "README.md": "# Parser\n",
};

/** Do something in a window where six conversations are kept, the newest with these events. */
async function taking(newest, options, work) {
  const place = new Place("parser");
  try {
    for (const [name, text] of Object.entries(FILES)) {
      writeFileSync(join(place.project, name), text);
    }
    await place.recorded(...CONVERSATIONS, { minutes: 12, events: newest });
    await within(place, options, work);
  } finally {
    place.remove();
  }
}

await taking([...FIRST, ...SECOND], { theme: "Default Dark Modern" }, async (vscode) => {
  await vscode.showConversations();
  await vscode.row("Why is the last").click();
  await vscode.editor("tokens[:-1]").waitFor();
  await vscode.press("Why is the last", "Resume Conversation…");
  await vscode.status().filter({ hasText: "12 min ago" }).waitFor();
  await vscode.rest();
  await vscode.picture("conversations-dark");
});

await taking(
  FIRST,
  { theme: "Default Light Modern", extensions: ["model"], env: { SEGUE_TESTS_ANSWERS: JSON.stringify(ANSWERS) } },
  async (vscode) => {
    await vscode.page.getByRole("treeitem", { name: "parser.py" }).dblclick();
    await vscode.editor("def parse").waitFor();
    await vscode.ask(`@segue ${FOLLOW_UP}`);
    await vscode.answer("test_one_token").waitFor();
    await vscode.widenChat();
    await vscode.showConversations();
    await vscode.row("Why is the last").filter({ hasText: "now · 5" }).waitFor();
    await vscode.rest();
    await vscode.picture("chat-light");
  },
);

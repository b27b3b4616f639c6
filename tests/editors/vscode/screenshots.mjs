// Takes the screenshots in the extension's README: `node tests/editors/vscode/screenshots.mjs`.

import { writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { AFTERNOON, answer, userMessage } from "./conversations.mjs";
import { Sandbox, withWorkbench } from "./workbench.mjs";

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

const CONVERSATIONS = [
  ["Write the changelog", 9_300, 7],
  ["A test for empty input", 4_400, 11],
  ["Rename parse to parse_all", 1_560, 3],
  ["Name the lexer's states", 190, 15],
  ["Make the tokenizer faster", 48, 21],
].map(([title, minutes, turnCount]) => ({
  minutes,
  events: Array.from({ length: turnCount }, (_, index) => [userMessage(index ? `And ${index}?` : title), answer("Done.")]).flat(),
}));
const FIRST_TURN = [userMessage(QUESTION), answer(ANSWER)];
const SECOND_TURN = [userMessage(FOLLOW_UP), answer(ANSWERS[FOLLOW_UP])];
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

/** Run *work* in a window with six recorded conversations; *newest* are the events of the latest. */
async function withConversations(newest, options, work) {
  const sandbox = new Sandbox("parser");
  try {
    for (const [name, content] of Object.entries(FILES)) {
      writeFileSync(join(sandbox.project, name), content);
    }
    await sandbox.record(...CONVERSATIONS, { minutes: 12, events: newest });
    await withWorkbench(sandbox, { ...options, env: { ...options.env, TZ: AFTERNOON } }, work);
  } finally {
    sandbox.remove();
  }
}

await withConversations([...FIRST_TURN, ...SECOND_TURN], { theme: "Dark Modern" }, async (vscode) => {
  await vscode.showConversations();
  await vscode.row("Why is the last").click();
  await vscode.transcript("tokens[:-1]").waitFor();
  await vscode.clickRowAction("Why is the last", "Resume Conversation…");
  await vscode.statusItem().filter({ hasText: "resumed, last active" }).waitFor();
  await vscode.searchBox().waitFor();
  await vscode.hideTransientUi();
  await vscode.screenshot("conversations-dark");
});

await withConversations(
  FIRST_TURN,
  { theme: "Light Modern", extensions: ["echo-model"], env: { SEGUE_TESTS_ANSWERS: JSON.stringify(ANSWERS) } },
  async (vscode) => {
    await vscode.page.getByRole("treeitem", { name: "parser.py" }).dblclick();
    await vscode.editor("def parse").waitFor();
    await vscode.askInChat(`@segue ${FOLLOW_UP}`);
    await vscode.chatResponse("test_one_token").waitFor();
    await vscode.widenChat();
    await vscode.showConversations();
    await vscode.row("Why is the last").filter({ hasText: "5 events" }).waitFor();
    await vscode.searchBox().waitFor();
    await vscode.hideTransientUi();
    await vscode.screenshot("chat-light");
  },
);

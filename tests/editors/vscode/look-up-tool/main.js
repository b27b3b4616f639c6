// Two tools for tests: one looks a word up, "slow" only when it is stopped; one asks before it writes a file of that name.

const fs = require("node:fs");
const path = require("node:path");
const vscode = require("vscode");

const FOLDER = path.dirname(process.env.SEGUE_TESTS_MODEL_LOG);
const toResult = (text) => new vscode.LanguageModelToolResult([new vscode.LanguageModelTextPart(text)]);

const TOOLS = {
  look_up: {
    prepareInvocation: ({ input: { word } }) => ({ invocationMessage: `Looking up ${word}`, pastTenseMessage: `Looked up ${word}` }),
    invoke: async ({ input: { word } }, token) => {
      if (word === "slow") {
        await new Promise((resolve) => token.onCancellationRequested(resolve));
        throw new vscode.CancellationError();
      }
      return toResult(`Entry for ${word}`);
    },
  },
  write_entry: {
    prepareInvocation: ({ input: { word } }) => ({
      invocationMessage: `Writing ${word}`,
      confirmationMessages: { title: `Write an entry for ${word}?`, message: "It stays there." },
    }),
    invoke: async ({ input: { word } }) => {
      fs.writeFileSync(path.join(FOLDER, word), "");
      return toResult(`Wrote ${word}`);
    },
  },
};

exports.activate = ({ subscriptions }) => {
  subscriptions.push(...Object.entries(TOOLS).map(([name, tool]) => vscode.lm.registerTool(name, tool)));
};

// A language model for tests: it answers with what it was asked, in parts, and writes down all that it was given.
// A question with "wait for FILE" waits in the middle of its answer; one with "fail" fails there.

const fs = require("node:fs");
const vscode = require("vscode");

const INFORMATION = {
  id: "echo",
  name: "Echo",
  family: "echo",
  version: "1",
  maxInputTokens: 10_000,
  maxOutputTokens: 1_000,
  isDefault: true,
  isUserSelectable: true,
  capabilities: { toolCalling: true },
};

exports.activate = async ({ subscriptions }) => {
  const provider = {
    provideLanguageModelChatInformation: () => [INFORMATION],
    provideTokenCount: async (_, text) => String(text).length / 4,
    provideLanguageModelChatResponse: respond,
  };
  subscriptions.push(vscode.lm.registerLanguageModelChatProvider("tests", provider));
  // The chat view looks for models only when somebody has asked for them.
  await vscode.lm.selectChatModels();
};

async function respond(_model, messages, _options, progress) {
  const given = messages.map(({ role, content }) => ({
    role: role === vscode.LanguageModelChatMessageRole.User ? "user" : "assistant",
    text: content.map(({ value }) => value).join(""),
  }));
  fs.appendFileSync(process.env.SEGUE_TESTS_MODEL, `${JSON.stringify(given)}\n`);
  const question = given.at(-1).text;
  const say = (text) => progress.report(new vscode.LanguageModelTextPart(text));
  const [first, ...others] = answerTo(question).split(/(?<= )/);
  say(first);
  const file = /wait for (\S+)/.exec(question)?.[1];
  while (file !== undefined && !fs.existsSync(file)) {
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  if (question.includes("fail")) {
    throw new Error("the model failed");
  }
  for (const word of others) {
    say(word);
  }
}

function answerTo(question) {
  const prepared = JSON.parse(process.env.SEGUE_TESTS_ANSWERS ?? "{}");
  return prepared[question] ?? `You asked: ${question}`;
}

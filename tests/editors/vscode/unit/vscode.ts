// What the unit tests have of the module `vscode`, which only an extension host has.

export class LanguageModelTextPart {
  constructor(readonly value: string) {}
}

export class LanguageModelToolCallPart {
  constructor(readonly callId: string, readonly name: string, readonly input: object) {}
}

export class LanguageModelToolResultPart {
  constructor(readonly callId: string, readonly content: unknown[]) {}
}

export class LanguageModelPromptTsxPart {
  constructor(readonly value: unknown) {}
}

export class CancellationError extends Error {}

export const LanguageModelChatMessage = {
  User: (content: unknown) => ({ role: "user", content }),
  Assistant: (content: unknown) => ({ role: "assistant", content }),
};

/** A test sets the tools, and what they do. */
export const lm: { tools: unknown[]; invokeTool: unknown } = { tools: [], invokeTool: undefined };

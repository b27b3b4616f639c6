// Conversations for the tests, as `Sandbox.record` takes them.

/** What a person asks. */
export const userMessage = (content) => ({ type: "user_message", data: { content } });

/** What a model says. */
export const answer = (content) => ({ type: "text", data: { content } });

/** A conversation of one turn. *options*: its age in `minutes`, its `directory`, its `title`. */
export const conversation = (question, options = {}) => ({
  events: [userMessage(question), answer(`About this: ${question}`)],
  ...options,
});

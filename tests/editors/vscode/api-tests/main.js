// Tests the API for other extensions in the real extension host, and writes a report.

const assert = require("node:assert/strict");
const { execFileSync } = require("node:child_process");
const fs = require("node:fs");
const vscode = require("vscode");

const userMessage = (content) => ({ type: "user_message", data: { content } });

/** Append to a conversation as another window would. */
function appendElsewhere(sessionId, ...contents) {
  const [root, python, database, directory] = JSON.parse(process.env.SEGUE_TESTS_RECORD);
  const input = JSON.stringify([{ directory, sessionId, events: contents.map(userMessage) }]);
  execFileSync(python, ["-m", "tests.editors.vscode.record", database], { cwd: root, input });
}

const TESTS = {
  async "the API has version 1"(segue) {
    assert.equal(segue.apiVersion, 1);
  },

  async "appended events are acknowledged with their seq and can be read"(segue) {
    const { session, resumed, reason } = await segue.open({ mode: "new" });
    assert.equal(resumed, false);
    assert.match(reason, /new session/);
    const appended = await segue.append(session.sessionId, [userMessage("one"), userMessage("two")]);
    assert.equal(appended.eventCount, 2);
    assert.deepEqual(appended.events.map(({ seq }) => seq), [1, 2]);
    assert.match(appended.events[0].id, /^[0-9a-f]{8}-[0-9a-f]{4}-7/);
    const { events, hasMore } = await segue.events(session.sessionId, { after: 1 });
    assert.deepEqual([events.map(({ data }) => data.content), hasMore], [["two"], false]);
  },

  async "the same event twice is stored once"(segue) {
    const { session } = await segue.open({ mode: "new" });
    const event = { ...userMessage("once"), id: "mine" };
    await segue.append(session.sessionId, [event]);
    assert.equal((await segue.append(session.sessionId, [event])).duplicates, 1);
  },

  async "an event that has no JSON is refused, and the next one is stored"(segue) {
    const { session } = await segue.open({ mode: "new" });
    const loop = {};
    loop.self = loop;
    for (const data of [loop, { n: 10n }, { n: Number.NaN }, { n: () => 1 }, { n: JSON.rawJSON?.("1".repeat(4301)) ?? 1n }]) {
      await assert.rejects(segue.append(session.sessionId, [{ type: "note", data }]), { name: "SegueError", kind: "InvalidParams" });
    }
    await assert.rejects(segue.open({ mode: "new", continueMinutes: 1n }), { kind: "InvalidParams" });
    const exact = "12345678901234567890123";
    await segue.append(session.sessionId, [{ type: "note", data: { n: JSON.rawJSON?.(exact) ?? exact } }]);
    assert.equal((await segue.events(session.sessionId)).events.length, 1);
  },

  async "a refusal has its kind and the path of the error"(segue) {
    const { session } = await segue.open({ mode: "new" });
    await assert.rejects(segue.append(session.sessionId, [{ type: "text", data: {} }]), (error) => {
      assert.deepEqual([error.name, error.kind], ["SegueError", "InvalidParams"]);
      assert.equal(error.data.errors[0].path, "$.events[0].data.content");
      return true;
    });
    await assert.rejects(segue.open({ sessionId: "nobody" }), { kind: "SessionNotFound" });
  },

  async "listeners are notified of appends and of a new current conversation"(segue) {
    const appends = [];
    const changes = [];
    const listeners = [segue.onDidAppend((e) => appends.push(e)), segue.onDidChangeSession((e) => changes.push(e))];
    const { session } = await segue.open({ mode: "new" });
    await segue.append(session.sessionId, [userMessage("one")]);
    const second = await segue.reset(session.sessionId);
    await segue.append(second.session.sessionId, [userMessage("two")]);
    await segue.archive(second.session.sessionId);
    for (const listener of listeners) {
      listener.dispose();
    }
    assert.deepEqual(appends.map(({ appended }) => appended[0].data.content), ["one", "two"]);
    assert.deepEqual(
      [changes[0].session.sessionId, changes.at(-1).session],
      [session.sessionId, undefined],
    );
    assert.ok(changes.some((change) => change.session?.sessionId === second.session.sessionId));
  },

  async "after another window has appended, a fork takes the events and becomes the current conversation"(segue) {
    const changes = [];
    const listener = segue.onDidChangeSession(({ session }) => changes.push(session?.sessionId));
    const { session } = await segue.open({ mode: "new" });
    await segue.append(session.sessionId, [userMessage("one")]);
    appendElsewhere(session.sessionId, "from elsewhere");
    const appends = ["two", "three"].map((content) => segue.append(session.sessionId, [userMessage(content)]));
    const [{ sessionId }, second] = await Promise.all(appends);
    listener.dispose();
    assert.notEqual(sessionId, session.sessionId);
    assert.deepEqual([second.sessionId, changes.at(-1)], [sessionId, sessionId]);
    const contents = async (id) => (await segue.events(id)).events.map(({ data }) => data.content);
    assert.deepEqual(await contents(sessionId), ["one", "two", "three"]);
    const ofOriginal = (await contents(session.sessionId)).filter((content) => !content.startsWith("["));
    assert.deepEqual(ofOriginal, ["one", "from elsewhere"]);
  },

  async "a conversation is forked at an event, in the place of the original on request"(segue) {
    const { session } = await segue.open({ mode: "new" });
    const { events } = await segue.append(session.sessionId, [userMessage("one"), userMessage("two")]);
    const changes = [];
    const listener = segue.onDidChangeSession(({ session: current }) => changes.push(current?.sessionId));
    const fork = await segue.fork(session.sessionId, { at: events[0].id, title: "another way" });
    assert.deepEqual([fork.session.forkedFrom, fork.session.forkedAt], [session.sessionId, 1]);
    assert.deepEqual([fork.session.title, fork.events.map(({ data }) => data.content)], ["another way", ["one"]]);
    const place = await segue.fork(session.sessionId, { archiveOriginal: true, newSessionId: "mine" });
    listener.dispose();
    assert.deepEqual([place.session.sessionId, place.session.title, place.events.length], ["mine", "one", 2]);
    assert.deepEqual(changes.slice(-2), [fork.session.sessionId, "mine"]);
    const { sessions } = await segue.list({ archived: true });
    assert.notEqual(sessions.find(({ sessionId }) => sessionId === session.sessionId).archivedAt, null);
    await assert.rejects(segue.fork(session.sessionId, { at: "nothing" }), { kind: "EventNotFound" });
    await assert.rejects(segue.fork((await segue.open({ mode: "new" })).session.sessionId), { kind: "InvalidParams" });
  },

  async "a title is given and taken back"(segue) {
    const { session } = await segue.open({ mode: "new" });
    await segue.append(session.sessionId, [userMessage("one")]);
    const changes = [];
    const listener = segue.onDidChangeSession((change) => changes.push(change.session.title));
    assert.equal((await segue.setTitle(session.sessionId, "a name")).title, "a name");
    await segue.append(session.sessionId, [userMessage("two")]);
    assert.equal((await segue.setTitle(session.sessionId, null)).title, "one");
    listener.dispose();
    assert.deepEqual([changes.includes("a name"), changes.at(-1)], [true, "one"]);
    await assert.rejects(segue.setTitle("nobody", "a name"), { kind: "SessionNotFound" });
  },

  async "who has answered is kept: the client, the agent and the model"(segue) {
    const { session } = await segue.open({ mode: "new" });
    await segue.append(session.sessionId, [userMessage("one")], { agent: "an agent", model: "a model" });
    const { sessions } = await segue.list({ limit: 1 });
    const { client, agent, model } = sessions[0];
    assert.deepEqual([client, agent, model], [vscode.env.appName, "an agent", "a model"]);
    const { invocations } = await segue.events(session.sessionId);
    assert.deepEqual([invocations[0].clientName, invocations[0].clientVersion], [vscode.env.appName, vscode.version]);
  },

  async "a list is limited to the workspace, newest first, with archived ones on request"(segue) {
    const workspace = vscode.workspace.workspaceFolders[0].uri;
    const first = (await segue.open({ workspace, mode: "new" })).session.sessionId;
    await segue.append(first, [userMessage("first")]);
    const second = (await segue.open({ workspace, mode: "new" })).session.sessionId;
    await segue.append(second, [userMessage("second")]);
    await segue.archive(first);
    const ids = async (options) => (await segue.list({ workspace, ...options })).sessions.map((s) => s.sessionId);
    assert.deepEqual((await ids({ limit: 1 })), [second]);
    assert.ok(!(await ids({})).includes(first));
    assert.ok((await ids({ archived: true })).includes(first));
  },

  async "concurrent appends are stored in the order of the calls"(segue) {
    const { session } = await segue.open({ mode: "new" });
    const contents = Array.from({ length: 30 }, (_, index) => `message ${index}`);
    await Promise.all(contents.map((content) => segue.append(session.sessionId, [userMessage(content)])));
    const { events } = await segue.events(session.sessionId);
    assert.deepEqual(events.map(({ data }) => data.content), contents);
  },

  async "a restart of the server loses and duplicates no event"(segue) {
    const { session } = await segue.open({ mode: "new" });
    await segue.append(session.sessionId, [userMessage("first")]);
    const contents = Array.from({ length: 30 }, (_, index) => `message ${index}`);
    const all = Promise.all(contents.map((content) => segue.append(session.sessionId, [userMessage(content)])));
    await vscode.commands.executeCommand("segue.restart");
    await all;
    const { events } = await segue.events(session.sessionId);
    const messages = events.filter(({ type }) => type === "user_message");
    assert.deepEqual(messages.map(({ data }) => data.content), ["first", ...contents]);
  },
};

exports.activate = async () => {
  const segue = await vscode.extensions.getExtension("segue.segue").activate();
  const results = [];
  for (const [name, test] of Object.entries(TESTS)) {
    try {
      await test(segue);
      results.push({ name, ok: true });
    } catch (error) {
      results.push({ name, ok: false, error: error.stack });
    }
  }
  fs.writeFileSync(`${process.env.SEGUE_TESTS_API_REPORT}.part`, JSON.stringify(results));
  fs.renameSync(`${process.env.SEGUE_TESTS_API_REPORT}.part`, process.env.SEGUE_TESTS_API_REPORT);
};

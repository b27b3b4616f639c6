import assert from "node:assert/strict";
import { beforeEach, mock, test } from "node:test";
import type { SearchParams, SearchResult } from "../../../../editors/vscode/src/protocol.ts";
import { RefusedError, type Request } from "../../../../editors/vscode/src/requests.ts";
import { Search, SEARCH_DELAY_MS } from "../../../../editors/vscode/src/search.ts";

interface Asked extends SearchParams {
  answer: (result: Partial<SearchResult>) => Promise<void>;
  fail: (error: Error) => Promise<void>;
}

/** The requests so far, which the tests answer. */
let asked: Asked[];
let changes: number;

const settle = () => new Promise((resolve) => setImmediate(resolve)) as Promise<void>;

const request = ((_: string, params: SearchParams) =>
  new Promise((resolve, reject) => {
    const answer = (result: Partial<SearchResult>) => (resolve({ hits: [], nextCursor: null, complete: true, ...result }), settle());
    asked.push({ ...params, answer, fail: (error) => (reject(error), settle()) });
  })) as unknown as Request;

const create = (folders: string[] = ["file:///p"], archived = false) => new Search(request, { folders, archived }, () => (changes += 1));
const hit = (id: string) => ({ session: { sessionId: "s" }, event: { id }, excerpt: [] }) as unknown as SearchResult["hits"][number];
const ids = ({ state }: Search) => state.hits.map(({ event }) => event?.id);
const wait = (milliseconds = SEARCH_DELAY_MS) => mock.timers.tick(milliseconds);
const last = () => asked.at(-1) as Asked;

beforeEach(() => {
  mock.timers.reset();
  mock.timers.enable({ apis: ["setTimeout"] });
  asked = [];
  changes = 0;
});

test("a search begins when nothing was typed for a moment", async () => {
  const search = create();
  search.type("to");
  wait(SEARCH_DELAY_MS - 1);
  search.type(" tok ");
  wait(SEARCH_DELAY_MS - 1);
  assert.deepEqual([asked.length, search.state.isBusy], [0, true]);
  wait(1);
  assert.deepEqual(asked.map(({ query, cwd, archived }) => [query, cwd, archived]), [["tok", "file:///p", false]]);
  await last().answer({ hits: [hit("1")] });
  assert.deepEqual([ids(search), search.state.isBusy, search.isCurrent], [["1"], false, true]);
  search.type("tok"); // the same
  wait();
  assert.equal(asked.length, 1);
});

test("an answer to what was typed before is dropped, and so is its failure", async () => {
  const search = create();
  search.type("old");
  wait();
  search.type("new");
  await asked[0]?.answer({ hits: [hit("old")] });
  assert.deepEqual([ids(search), search.isCurrent], [[], false]);
  wait();
  await last().answer({ hits: [hit("new")] });
  search.setScope({ folders: [], archived: true });
  search.setScope({ folders: ["file:///p"], archived: true });
  await asked[2]?.fail(new Error("late"));
  assert.deepEqual([ids(search), search.state.problem, search.isCurrent, asked.length], [["new"], undefined, false, 4]);
  await last().answer({ hits: [hit("newest")] });
  assert.deepEqual(ids(search), ["newest"]);
});

test("the next page goes on behind the last hit, also of a search whose time was up, and after a failure", async () => {
  const search = create();
  search.type("tok");
  wait();
  await last().answer({ hits: [hit("1")], nextCursor: "c1", complete: false });
  assert.deepEqual([search.state.hasMore, search.state.isOutOfTime], [true, true]);
  void search.loadMore();
  void search.loadMore(); // at the same time
  assert.deepEqual(asked.map(({ cursor }) => cursor), [null, "c1"]);
  await last().fail(new Error("away"));
  assert.deepEqual([ids(search), search.state.problem, search.state.hasMore], [["1"], "The search failed: away", true]);
  void search.loadMore();
  assert.equal(last().cursor, "c1");
  await last().answer({ hits: [hit("2")] });
  assert.deepEqual([ids(search), search.state.hasMore, search.state.isOutOfTime], [["1", "2"], false, false]);
});

test("a search whose time was up before it found anything goes on by itself", async () => {
  const search = create();
  search.type("tok");
  wait();
  await last().answer({ nextCursor: "c1", complete: false });
  assert.deepEqual([last().cursor, search.state.isBusy], ["c1", true]);
  await last().answer({ nextCursor: "c2", complete: false });
  await last().answer({ hits: [hit("1")], nextCursor: "c3", complete: false });
  assert.deepEqual([ids(search), search.state.isOutOfTime, asked.length], [["1"], true, 3]);
});

test("several folders are searched one after the other, and what they have in common is found once", async () => {
  const search = create(["file:///a", "file:///b"]);
  search.type("tok");
  wait();
  await last().answer({ hits: [hit("1")] });
  await last().answer({ hits: [hit("1"), hit("2")] });
  assert.deepEqual(asked.map(({ cwd }) => cwd), ["file:///a", "file:///b"]);
  assert.deepEqual(search.state.hits.map(({ event, folder }) => [event?.id, folder]), [["1", "file:///a"], ["2", "file:///b"]]);
  assert.equal(search.state.hasMore, false);
});

test("a refused query is told in words, and a search everywhere names no folder", async () => {
  const search = create([]);
  search.type("a");
  search.flush();
  assert.equal(last().cwd, null);
  const errors = [{ path: "$.query", message: "must have a word of two letters" }];
  await last().fail(new RefusedError("Invalid params", "InvalidParams", { errors }));
  assert.deepEqual([search.state.problem, search.state.hasMore], ["What you search for must have a word of two letters.", false]);
});

test("an empty text ends the search at once, and a repeated one asks for as much as is shown", async () => {
  const search = create();
  search.type("tok");
  wait();
  await last().answer({ hits: Array.from({ length: 50 }, (_, index) => hit(String(index))) });
  search.repeat();
  wait();
  assert.equal(last().limit, 50);
  assert.equal(search.state.hits.length, 50);
  search.type("  ");
  await last().answer({ hits: [hit("late")] });
  assert.deepEqual([search.state.hits, search.state.isBusy], [[], false]);
  const before = changes;
  search.repeat();
  search.setScope({ folders: [], archived: false });
  assert.equal(changes, before);
  search.type("tok");
  search.dispose();
  wait();
  assert.deepEqual([asked.length, changes], [2, before + 1]);
});

// The box above the view "Conversations": what is typed there makes the view show what is found.

import { randomBytes } from "node:crypto";
import * as vscode from "vscode";
import { createSearchBoxHtml, type FromBox, type ToBox } from "./searchBoxHtml";

/** What the box controls. */
export interface Searchable {
  /** What is searched for, and what came of it in a few words. */
  readonly searchText: string;
  readonly searchStatus: string;
  /** Fires when the status changes. */
  readonly onDidChangeSearch: vscode.Event<void>;
  /** Search for what was typed; an empty text ends the search. */
  searchFor(text: string): void;
  /** Move the keyboard to what was found. */
  focusResults(): Promise<void>;
}

/** Provides the web view of the box. The text is kept here: VS Code discards the page whenever it is hidden. */
export class SearchBox implements vscode.WebviewViewProvider, vscode.Disposable {
  private view: vscode.WebviewView | undefined;
  private readonly disposables: vscode.Disposable[];

  constructor(private readonly searchable: Searchable) {
    this.disposables = [
      vscode.window.registerWebviewViewProvider("segue.searchBox", this),
      searchable.onDidChangeSearch(() => this.send({ status: searchable.searchStatus })),
    ];
  }

  /** Fill the web view. Nothing is loaded from anywhere, and only this script runs. */
  resolveWebviewView(view: vscode.WebviewView): void {
    this.view = view;
    view.webview.options = { enableScripts: true, localResourceRoots: [] };
    view.webview.onDidReceiveMessage((message: FromBox) => this.receive(message));
    view.onDidDispose(() => {
      this.view = this.view === view ? undefined : this.view; // it may have a successor already
    });
    view.webview.html = createSearchBoxHtml(randomBytes(16).toString("hex"));
  }

  /** End the search. */
  clear(): void {
    this.searchable.searchFor("");
    this.send({ text: "" });
  }

  /** Unregister the provider. */
  dispose(): void {
    for (const disposable of this.disposables) {
      disposable.dispose();
    }
  }

  private receive(message: FromBox): void {
    switch (message.kind) {
      case "ready":
        this.send({ text: this.searchable.searchText, status: this.searchable.searchStatus });
        break;
      case "text":
        this.searchable.searchFor(message.text);
        break;
      case "everywhere":
        void vscode.commands.executeCommand("segue.search", this.searchable.searchText);
        break;
      case "leave":
        void this.searchable.focusResults();
        break;
    }
  }

  private send(message: ToBox): void {
    void this.view?.webview.postMessage(message);
  }
}

--- Made from the server's method table by `python tests/generate.py`. Do not edit.

local M = {}

M.VERSION = 1

---@alias segue.Method
---| "session/open"
---| "session/append"
---| "session/events"
---| "session/list"
---| "session/search"
---| "session/follow"
---| "session/unfollow"
---| "session/findResumable"
---| "session/fork"
---| "session/setTitle"
---| "session/export"
---| "session/resumeCommand"
---| "session/relocate"
---| "session/reset"
---| "session/archive"
---| "session/unarchive"
---| "session/delete"
---| "session/close"
---| "session/setServerSessionId"
---| "session/getMetadata"
---| "session/setMetadata"

--- May be sent again, unchanged, after the response was lost with the server.
---@type table<segue.Method, true>
M.RETRIABLE = {
  ["session/open"] = true,
  ["session/events"] = true,
  ["session/list"] = true,
  ["session/search"] = true,
  ["session/follow"] = true,
  ["session/unfollow"] = true,
  ["session/findResumable"] = true,
  ["session/fork"] = true,
  ["session/setTitle"] = true,
  ["session/export"] = true,
  ["session/resumeCommand"] = true,
  ["session/relocate"] = true,
  ["session/archive"] = true,
  ["session/unarchive"] = true,
  ["session/delete"] = true,
  ["session/close"] = true,
  ["session/getMetadata"] = true,
}

--- The known event types, and whether they are sent to a model. Others are kept as JSON.
---@type table<string, boolean>
M.EVENT_TYPES = {
  user_message = true,
  text = true,
  tool_call = true,
  tool_result = true,
  skill_invocation = true,
  system_context = false,
  out_of_band_output = false,
  thinking = false,
  plan = false,
  permission = false,
  turn_end = false,
}

--- What people call the programs that conversations are imported from, by the name in the store.
---@type table<string, string>
M.SOURCE_TITLES = {
  ["segue"] = "Segue",
  ["claude-code"] = "Claude Code",
  ["codex"] = "Codex",
  ["copilot-cli"] = "Copilot CLI",
  ["codecompanion-history"] = "codecompanion-history.nvim",
  ["gemini-cli"] = "Gemini CLI",
  ["opencode"] = "OpenCode",
  ["vscode-chat"] = "VS Code chat",
  ["atuin"] = "Atuin AI",
  ["avante"] = "avante.nvim",
  ["copilot-chat"] = "CopilotChat.nvim",
}

return M

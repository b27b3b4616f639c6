--- The subcommands of |:Segue| and their completion.

local config = require("segue.config")
local format = require("segue.format")
local records = require("segue.records")
local text = require("segue.text")

local M = {}

---@class segue.CommandCall
---@field args string[] The arguments after the subcommand
---@field raw_args string The same as one string
---@field lines? string[] The lines of the range, or the selection
---@field bang boolean
---@field mods table of |nvim_cmd()|

---@type segue.SessionInfo[] of the last list, for completion, which must not wait for the server
local listed = {}

---@param id string
---@return { title?: string }? session
local function find_known(id)
  local conversation = require("segue.registry").of_session(id)
  if conversation and conversation.record and conversation.record.id == id then
    return conversation.record
  end
  return vim.iter(listed):find(function(session)
    return session.id == id
  end)
end

---@param callback fun(result: any)
---@return fun(err?: segue.Error, result?: any) callback that notifies the user of an error
local function on_success(callback)
  return function(err, result)
    if not err then
      callback(result)
    elseif err.kind ~= "ServerNotFound" then -- of which the server module has notified
      config.notify(err.message, vim.log.levels.ERROR)
    end
  end
end

---@param opts segue.ListOptions
---@param callback fun(sessions: segue.SessionInfo[], has_more: boolean)
local function list(opts, callback)
  require("segue").list(opts, on_success(function(page)
    listed = page.sessions
    callback(listed, page.next_cursor ~= nil)
  end))
end

---@param session segue.SessionInfo
---@return string
local function describe(session)
  local parts = {
    format.title(session),
    format.age(session.updated_at),
    format.count(session.event_count, "event"),
  }
  table.insert(parts, format.origin(session))
  table.insert(parts, session.archived_at and "archived")
  table.insert(parts, session.shared_by and "shared by " .. text.one_line(session.shared_by))
  return table.concat(parts, " · ")
end

local NOT_OPEN = "no conversation is open; give an id, see :Segue list"

---@param call segue.CommandCall
---@param callback fun(id: string)
local function with_session_id(call, callback)
  local current = require("segue").current()
  local id = call.args[1] or (current and current.id)
  if id then
    callback(id)
  else
    config.notify(NOT_OPEN, vim.log.levels.WARN)
  end
end

-- What is shown in the current buffer, and the turn under the cursor.
---@return segue.Place?
local function place_here()
  local buffer, line = vim.api.nvim_get_current_buf(), vim.fn.line(".")
  local integration = package.loaded["segue.integrations.codecompanion"]
  local place = integration and integration.place(buffer, line)
  if place or not package.loaded["segue.transcript"] then
    return place
  end
  return require("segue.transcript").place(buffer, line)
end

-- The conversation in the current buffer, else the current one.
---@param callback fun(place: segue.Place, session: { id: string, title?: string })
local function with_place(callback)
  local place = place_here() or { session = require("segue").current(), is_last = true }
  if place.session then
    callback(place, place.session)
  else
    config.notify(NOT_OPEN, vim.log.levels.WARN)
  end
end

---@return table? integration of an installed chat plugin, which shows conversations itself
local function chat_integration()
  if config.get().integrations.codecompanion == false then
    return nil
  end
  local found, integration = pcall(require, "segue.integrations.codecompanion")
  if found and integration.available() then
    return integration
  end
end

---@param session segue.Session
---@param mods table
---@param replaced_id? string The session whose place it takes
local function show(session, mods, replaced_id)
  local integration = chat_integration()
  if integration then
    integration.restore(session, replaced_id)
  else
    require("segue.transcript").show(session.id, mods, replaced_id)
  end
end

-- Let the user choose one of this workspace's conversations, the newest first.
---@param prompt string
---@param callback fun(id: string)
local function pick(prompt, callback)
  list({}, function(sessions, has_more)
    if #sessions == 0 then
      return config.notify("there are no conversations in this workspace yet")
    end
    vim.ui.select(sessions, {
      prompt = has_more and ("%s (the newest %d)"):format(prompt, #sessions) or prompt,
      kind = "segue",
      format_item = describe,
    }, function(session)
      if session then
        callback(session.id)
      end
    end)
  end)
end

---@param id string
---@param mods table
local function resume_in_editor(id, mods)
  require("segue").open({ session_id = id, tail = 1000 }, on_success(function(session)
    show(session, mods)
  end))
end

-- Whether a session, as the last list has it, went on elsewhere since it was imported.
---@param id string
---@param program segue.OwnProgram
---@return boolean
local function went_on_elsewhere(id, program)
  local session = vim.iter(listed):find(function(each)
    return each.id == id
  end)
  return session ~= nil and session.client ~= nil and session.client ~= program.name
end

---@param id string
---@param program segue.OwnProgram
---@return string
local function describe_program(id, program)
  if program.obstacle then
    return ("In %s: yank its command (%s)"):format(program.name, program.obstacle)
  elseif went_on_elsewhere(id, program) then
    return ("In %s, without what was said elsewhere since"):format(program.name)
  end
  return ("In %s, in a terminal"):format(program.name)
end

---@param id string
---@param program segue.OwnProgram
---@param mods table
local function choose_where_to_resume(id, program, mods)
  local known = find_known(id)
  vim.ui.select({ "In a chat", describe_program(id, program) }, {
    prompt = ("Go on with %s"):format(known and "“" .. format.title(known) .. "”" or id),
    kind = "segue_resume",
  }, function(_, index)
    if index == 1 then
      resume_in_editor(id, mods)
    elseif index == 2 then
      require("segue.own_program").run(program, mods)
    end
  end)
end

---@param id string
---@param mods table
local function resume(id, mods)
  local integration = chat_integration()
  if integration and integration.is_open(id) then
    return resume_in_editor(id, mods)
  end
  local own_program = require("segue.own_program")
  own_program.find(id, function(program)
    if not program then
      resume_in_editor(id, mods)
    elseif own_program.show_running(program, mods) then
      return
    elseif integration then
      choose_where_to_resume(id, program, mods)
    else
      own_program.run(program, mods)
      if program.obstacle then
        resume_in_editor(id, mods)
      elseif went_on_elsewhere(id, program) then
        local message = "%s does not know what was said elsewhere since"
        config.notify(message:format(program.name), vim.log.levels.WARN)
      end
    end
  end)
end

---@param chunks [string, string?][]
local function echo(chunks)
  vim.api.nvim_echo(chunks, false, {})
end

---@type table<string, fun(call: segue.CommandCall)>
local subcommands = {}

function subcommands.resume(call)
  if call.args[1] then
    return resume(call.args[1], call.mods)
  end
  pick("Resume a conversation", function(id)
    resume(id, call.mods)
  end)
end

function subcommands.new()
  require("segue").reset({}, on_success(function()
    config.notify("started a new conversation")
  end))
end

function subcommands.fork(call)
  with_place(function(place, session)
    local title = call.raw_args ~= "" and text.one_line(call.raw_args) or nil
    local opts = { session_id = session.id, at = place.at, title = title, tail = 0 }
    require("segue").fork(opts, on_success(function(fork)
      show(fork, call.mods)
      config.notify(("forked as “%s”"):format(format.title(fork)))
    end))
  end)
end

function subcommands.rewind(call)
  local place = place_here()
  if not place or not place.session then
    local hint = "put the cursor on a turn in a chat or a transcript"
    return config.notify(hint, vim.log.levels.WARN)
  elseif place.is_last then
    return config.notify("nothing comes after this turn", vim.log.levels.WARN)
  end
  local id = place.session.id
  local opts = { session_id = id, at = place.at, archive_original = true, tail = 0 }
  require("segue").fork(opts, on_success(function(fork)
    show(fork, call.mods, id)
    config.notify("went back to this turn; :Segue undo brings the rest back")
  end))
end

function subcommands.undo(call)
  with_place(function(_, session)
    local id = session.id
    require("segue").undo({ session_id = id }, on_success(function(original)
      show(original, call.mods, id)
      config.notify("undone: the whole conversation is back")
    end))
  end)
end

---@param id string
---@param title? string
local function set_title(id, title)
  require("segue").set_title({ session_id = id, title = title }, on_success(function(session)
    local integration = package.loaded["segue.integrations.codecompanion"]
    if integration then
      integration.show_title(session)
    end
    config.notify(("renamed to “%s”"):format(format.title(session)))
  end))
end

function subcommands.rename(call)
  with_place(function(_, session)
    if call.raw_args ~= "" then
      return set_title(session.id, text.one_line(call.raw_args))
    end
    local known = find_known(session.id) or session
    vim.ui.input({ prompt = "Title: ", default = known.title or "" }, function(input)
      if input then
        local title = text.one_line(input)
        set_title(session.id, title ~= "" and title or nil)
      end
    end)
  end)
end

function subcommands.list(call)
  local all = vim.list_contains(call.args, "all")
  list({
    cwd = not all and nil, -- false lists all workspaces, nil this one
    archived = all or vim.list_contains(call.args, "archived"),
  }, function(sessions, has_more)
    if #sessions == 0 then
      return config.notify("there are no conversations yet")
    end
    local current = require("segue").current()
    local chunks = {}
    for index, session in ipairs(sessions) do
      local is_current = current and current.id == session.id
      table.insert(chunks, { is_current and "* " or "  ", "Special" })
      table.insert(chunks, { text.one_line(session.id), "Identifier" })
      table.insert(chunks, { "  " .. describe(session) .. (index < #sessions and "\n" or "") })
    end
    if has_more then
      table.insert(chunks, { "\n  and older ones", "Comment" })
    end
    echo(chunks)
  end)
end

function subcommands.search(call)
  require("segue.search").open({
    query = text.one_line(call.raw_args),
    everywhere = call.bang,
    mods = call.mods,
  })
end

function subcommands.show(call)
  with_session_id(call, function(id)
    require("segue.transcript").show(id, call.mods)
  end)
end

---@param call segue.CommandCall
---@return string? id, string format, string? path
local function export_arguments(call)
  local formats = require("segue.exporting").FORMATS
  local id, rest = nil, call.raw_args
  local word, after = rest:match("^(%S+)%s*(.*)$")
  if word and not vim.list_contains(formats, word) then
    id, rest = word, after
    word, after = rest:match("^(%S+)%s*(.*)$")
  end
  local path = vim.trim(after or "")
  return id, word or "markdown", path ~= "" and vim.fs.normalize(path) or nil
end

function subcommands.export(call)
  local exporting = require("segue.exporting")
  local id, export_format, path = export_arguments(call)
  if not vim.list_contains(exporting.FORMATS, export_format) then
    local formats = table.concat(exporting.FORMATS, ", ")
    return config.notify("the format must be one of: " .. formats, vim.log.levels.ERROR)
  end
  local function export(session_id)
    if export_format == "markdown" and not path then
      exporting.to_buffer(session_id, call.mods)
    else
      exporting.to_file(session_id, export_format, path or ".", call.bang)
    end
  end
  local place = not id and place_here()
  if id then
    export(id)
  elseif not place then
    pick("Export a conversation", export)
  elseif place.session then
    export(place.session.id)
  else
    config.notify("nothing of this chat is stored yet", vim.log.levels.WARN)
  end
end

function subcommands.relocate()
  require("segue.relocation").ask()
end

function subcommands.archive(call)
  require("segue").archive({ session_id = call.args[1] }, on_success(function(archived)
    local command = ":Segue resume " .. archived.session_id
    config.notify("archived the conversation; to resume it: " .. command)
  end))
end

---@param id string
---@return string
local function describe_id(id)
  local session = find_known(id)
  return session and ("“%s” (%s)"):format(format.title(session), id) or id
end

function subcommands.delete(call)
  with_session_id(call, function(id)
    vim.ui.select({ "Keep it", "Delete it" }, {
      prompt = ("Delete %s and all its events permanently?"):format(describe_id(id)),
      kind = "segue_delete",
    }, function(choice)
      if choice == "Delete it" then
        require("segue").delete({ session_id = id }, on_success(function()
          config.notify("deleted the conversation")
        end))
      end
    end)
  end)
end

---@param rows [string, string][] label and value
local function echo_table(rows)
  local chunks = {}
  for index, row in ipairs(rows) do
    table.insert(chunks, { ("%-10s"):format(row[1]), "Title" })
    table.insert(chunks, { text.one_line(row[2]) .. (index < #rows and "\n" or "") })
  end
  echo(chunks)
end

---@return [string, string]
local function server_row()
  local info = require("segue.server").info()
  local parts = { info.state }
  if info.pid then
    table.insert(parts, ("process %d"):format(info.pid))
  end
  if info.version then
    table.insert(parts, 1, info.version)
  end
  return { "server", table.concat(parts, ", ") }
end

---@return [string, string]
local function unsent_row()
  local unsent = require("segue.registry").unsent_state()
  if unsent.count == 0 then
    return { "unsent", "0" }
  end
  local reason = unsent.failure and unsent.failure.message
  return { "unsent", format.unsent(unsent.count, unsent.since, reason) }
end

---@param found table the result of `session/findResumable`
local function echo_resumable(found)
  local next_text = "would start a new one"
  if found.session ~= vim.NIL then
    local title = format.title(records.session_info(found.session))
    next_text = ("would resume “%s”"):format(title)
  end
  echo_table({
    { "session", "none is open yet" },
    { "next", next_text },
    { "reason", found.reason },
    unsent_row(),
    server_row(),
  })
end

function subcommands.info()
  local session = require("segue").current()
  if not session then
    local workspaces = require("segue.workspace")
    local params = {
      workspace = workspaces.to_wire(workspaces.of_buffer()),
      continueMinutes = config.get().continue_minutes,
    }
    if not params.workspace then
      return config.notify(workspaces.UNKNOWN.message, vim.log.levels.ERROR)
    end
    local request = require("segue.server").request
    return request("session/findResumable", params, on_success(echo_resumable))
  end
  local rows = {
    { "session", session.id },
    { "title", format.title(session) },
    { "workspace", (session.machine and session.machine .. ":" or "") .. (session.git_root or session.directory) },
    { session.resumed and "resumed" or "new", session.reason },
    { "events", tostring(session.event_count) },
    unsent_row(),
    server_row(),
  }
  local origin = format.origin(session)
  if origin then
    table.insert(rows, 4, { "agent", origin })
  end
  if session.forked_from then
    table.insert(rows, 4, { "fork of", session.forked_from })
  end
  for index, other in ipairs(session.alternatives) do
    table.insert(rows, { index == 1 and "others" or "", describe(other) .. "  " .. other.id })
  end
  echo_table(rows)
end

local WRAPPED = "behind `segue acp` in chats that are opened from now on: %s\n"
  .. "To have it always: "
  .. "vim.g.segue = { integrations = { codecompanion = { acp = true } } }"

function subcommands.wrap()
  local integration = chat_integration()
  if not integration then
    local reason = "codecompanion.nvim is not installed, or its integration is disabled"
    return config.notify(reason, vim.log.levels.WARN)
  end
  echo({ { WRAPPED:format(table.concat(integration.wrap(), ", ")) } })
end

function subcommands.log(call)
  local path = vim.lsp.log.get_filename()
  vim.cmd({ cmd = "split", args = { path }, mods = call.mods, magic = { file = false } })
end

local APPENDABLE_TYPES = { "user_message", "text" }

function subcommands.append(call)
  local type = call.args[1]
  if not vim.list_contains(APPENDABLE_TYPES, type) then
    return config.notify(
      "the event type must be one of: " .. table.concat(APPENDABLE_TYPES, ", "),
      vim.log.levels.ERROR
    )
  end
  local argument = call.raw_args:match("^%S+%s+(.*)$")
  local content = argument and vim.trim(argument) ~= "" and argument
    or call.lines and table.concat(call.lines, "\n")
  if not content then
    return config.notify("nothing to append: give a text or a range", vim.log.levels.ERROR)
  end
  require("segue").append({ type = type, data = { content = content } })
end

---@return string[]
local function subcommand_names()
  local names = vim.tbl_keys(subcommands)
  table.sort(names)
  return names
end

---@param command table of |nvim_create_user_command()|
---@return string[]?
local function lines_of_range(command)
  if command.range == 0 then
    return nil
  end
  local first, last = vim.fn.getpos("'<"), vim.fn.getpos("'>")
  local mode = vim.fn.visualmode()
  -- A range that equals the last selection comes from it: a characterwise selection may hold only
  -- parts of its lines.
  if mode ~= "" and mode ~= "V" and first[2] == command.line1 and last[2] == command.line2 then
    return vim.fn.getregion(first, last, { type = mode })
  end
  return vim.api.nvim_buf_get_lines(0, command.line1 - 1, command.line2, false)
end

--- Run `:Segue {subcommand} …`. The user is notified if there is no such subcommand.
---@param command table of |nvim_create_user_command()|
function M.run(command)
  local name, raw_args = command.args:match("^(%S+)%s*(.*)$")
  local subcommand = subcommands[name]
  if not subcommand then
    return config.notify(
      ("unknown subcommand %s; expected one of: %s"):format(
        name,
        table.concat(subcommand_names(), ", ")
      ),
      vim.log.levels.ERROR
    )
  end
  if command.bang and name ~= "export" and name ~= "search" then
    local message = "only :Segue! export and :Segue! search take a !"
    return config.notify(message, vim.log.levels.ERROR)
  end
  require("segue.server").reset_failure()
  require("segue.registry").retry_now()
  subcommand({
    args = vim.split(raw_args, "%s+", { trimempty = true }),
    raw_args = raw_args,
    lines = lines_of_range(command),
    bang = command.bang,
    mods = command.smods,
  })
end

---@return string[]
local function complete_id()
  -- Completion must not wait: this response serves the next completion.
  require("segue").list({}, function(err, page)
    if not err then
      listed = page.sessions
    end
  end)
  local current = require("segue").current()
  local ids = current and { current.id } or {}
  for _, session in ipairs(listed) do
    local is_word = session.id:find("^%g+$") ~= nil -- else it would be several arguments
    if is_word and not (current and session.id == current.id) then
      table.insert(ids, session.id)
    end
  end
  return ids
end

---@param words string[] The last one is not complete yet
---@return string[]
local function complete_export(words)
  local formats = require("segue.exporting").FORMATS
  if vim.list_contains(formats, words[#words - 1]) then
    return vim.fn.getcompletion(words[#words], "file")
  end
  local candidates = vim.list_slice(formats)
  return #words == 2 and vim.list_extend(candidates, complete_id()) or candidates
end

---@type table<string, fun(): string[]>
local argument_completers = {
  resume = complete_id,
  show = complete_id,
  archive = complete_id,
  delete = complete_id,
  list = function()
    return { "all", "archived" }
  end,
  append = function()
    return APPENDABLE_TYPES
  end,
}

--- The completions of `:Segue …` that begin with *lead*: subcommands, then their arguments.
---@param lead string
---@param line string
---@return string[]
function M.complete(lead, line)
  local words = vim.split(line:match("Segue!?%s+(.*)$") or "", "%s+")
  local candidates = {}
  if #words <= 1 then
    candidates = subcommand_names()
  elseif words[1] == "export" then
    candidates = complete_export(words)
  elseif #words == 2 and argument_completers[words[1]] then
    candidates = argument_completers[words[1]]()
  end
  return vim.tbl_filter(function(candidate)
    return vim.startswith(candidate, lead)
  end, candidates)
end

return M

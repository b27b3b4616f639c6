-- Conversations as files.

local segue = require("segue")

local M = {}

local function talk(t, content)
  t.call_ok("open", { mode = "new" })
  t.call_ok("append", {
    t.user_message("Fix the parser"),
    { type = "text", data = { content = content or "Done." } },
  }, nil)
  return segue.current().id
end

-- Run a command, and wait for what is said next.
local function said_after(t, command)
  local count = #t.notices
  vim.cmd(command)
  t.wait(command, function()
    return #t.notices > count
  end)
  return t.notices[#t.notices].message
end

local function answer(t, choose)
  t.selects = {}
  ---@diagnostic disable-next-line: duplicate-set-field -- replaced, to choose without a user
  vim.ui.select = function(items, opts, on_choice)
    table.insert(t.selects, opts.prompt)
    on_choice(choose(items))
  end
end

function M.to_buffer(t)
  local id = talk(t)
  vim.cmd.Segue("show")
  t.wait("the transcript", function()
    return table.concat(t.lines(), "\n"):find("Done.", 1, true)
  end)
  vim.cmd.only()
  local said = said_after(t, "vertical Segue export")
  local report = {
    id = id,
    said = said,
    lines = t.lines(),
    name = vim.api.nvim_buf_get_name(0),
    buftype = vim.bo.buftype,
    filetype = vim.bo.filetype,
    modified = vim.bo.modified,
    layout = vim.fn.winlayout()[1],
    saves_by_itself = pcall(vim.cmd.write),
  }
  vim.cmd("write %:t")
  vim.cmd("write copy.md")
  vim.cmd("normal! ggdd")
  vim.cmd.undo()
  report.undone = vim.deep_equal(t.lines(), report.lines)
  said_after(t, "Segue export " .. id)
  report.second_name = vim.api.nvim_buf_get_name(0)
  return report
end

function M.chosen(t)
  local older = talk(t, "the older answer")
  talk(t, "the newer answer")
  answer(t, function(items)
    return vim.iter(items):find(function(each)
      return each.id == older
    end)
  end)
  said_after(t, "Segue export")
  local shown = table.concat(t.lines(), "\n")
  answer(t, function() end)
  vim.cmd("Segue export html")
  t.wait("the picker", function()
    return #t.selects == 1
  end)
  vim.wait(50)
  return { shown = shown, selects = t.selects, files = vim.fn.glob("*", true, true) }
end

function M.to_files(t)
  local id = talk(t)
  local said = {}
  for _, command in ipairs(t.args.commands) do
    table.insert(said, said_after(t, (command:gsub("ID", id))))
  end
  return { id = id, said = said, windows = #vim.api.nvim_list_wins() }
end

-- A conversation of several pages, while a timer measures how long it waits for its turn.
function M.large(t)
  local line = ("a line of an answer, with a word or two\n"):rep(26)
  for _ = 1, t.args.megabytes do
    segue.append({ type = "text", data = { content = line:rep(1000) } })
  end
  t.wait_until_stored()
  local id = segue.current().id
  local last, longest = vim.uv.hrtime(), 0
  local timer = assert(vim.uv.new_timer())
  timer:start(0, 1, function()
    local now = vim.uv.hrtime()
    longest, last = math.max(longest, now - last), now
  end)
  local began = vim.uv.hrtime()
  local function export(command)
    longest, last = 0, vim.uv.hrtime()
    local said = said_after(t, command)
    assert(said:find("takes a moment", 1, true), said)
    t.wait(command, function()
      return t.notices[#t.notices].message:find("exported to", 1, true)
    end)
    return longest / 1e6
  end
  local report = { id = id }
  report.file = export("Segue export " .. id .. " jsonl large.jsonl")
  report.buffer = export("Segue export " .. id)
  timer:stop()
  report.seconds = (vim.uv.hrtime() - began) / 1e9
  report.lines = vim.api.nvim_buf_line_count(0)
  report.filetype = vim.bo.filetype
  vim.cmd("write large.md")
  return report
end

-- The server stops answering in the middle; and an older one does not know the request.
function M.failing(t)
  local id = talk(t)
  local server = require("segue.server")
  local request = server.request
  local pages = 0
  ---@diagnostic disable-next-line: duplicate-set-field -- replaced, to fail after the first page
  server.request = function(method, params, callback)
    if method ~= "session/export" or t.args.old_server then
      method = method == "session/export" and "session/notYetKnown" or method
      return request(method, params, callback)
    end
    pages = pages + 1
    vim.schedule(function()
      if pages % 2 == 0 then
        return callback({ code = -32803, message = "the store is gone" })
      end
      callback(nil, { content = "begun", nextCursor = "x", mediaType = "", fileName = "begun.html" })
    end)
  end
  local errors = {}
  for _, command in ipairs({ "Segue export " .. id, "Segue export " .. id .. " html" }) do
    vim.cmd(command)
    t.wait(command, function()
      errors = vim.tbl_filter(function(notice)
        return notice.level == vim.log.levels.ERROR
      end, t.notices)
      return #errors > 0 and errors[#errors].command == nil
    end)
    errors[#errors].command = command
  end
  return {
    errors = vim.tbl_map(function(each)
      return each.message
    end, errors),
    files = vim.fn.glob("*", true, true),
    windows = #vim.api.nvim_list_wins(),
    buffers = #vim.tbl_filter(vim.api.nvim_buf_is_valid, vim.api.nvim_list_bufs()),
  }
end

function M.api(t)
  talk(t)
  local current = t.call_ok("export", nil)
  local lines = t.call_ok("export", { session_id = segue.current().id, format = "jsonl" })
  local err = t.call("export", { session_id = "nobody" })
  return { current = current, lines = lines, error = err.kind }
end

function M.completion(t)
  local function completed(line)
    return vim.fn.getcompletion(line, "cmdline")
  end
  local id = talk(t)
  vim.fn.writefile({}, "notes.md")
  return {
    id = id,
    first = completed("Segue export "),
    second = completed("Segue export " .. id .. " "),
    started = completed("Segue! export h"),
    file = completed("Segue! export html no"),
    file_of_id = completed("Segue export " .. id .. " html no"),
  }
end

return M

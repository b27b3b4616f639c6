--- Exports conversations, page by page: into a scratch buffer, or into a private file that is complete
--- or not there at all.

local config = require("segue.config")

local M = {}

M.FORMATS = { "markdown", "html", "jsonl" }

local METHOD_NOT_FOUND = -32601
-- Instead of an error of which the server module has notified.
local NOTIFIED = ""
local PRIVATE = tonumber("600", 8)
-- Of a larger one, the highlighting would take longer than the export.
local MAX_HIGHLIGHTED_BYTES = 1024 * 1024
-- 'undolevels' of a buffer that has no value of its own.
local GLOBAL_UNDOLEVELS = -123456

-- Run *start* with a callback, and return what that is called with. Only in a coroutine, and not in a
-- pcall of it, which could not yield in every Lua that Neovim is built with.
---@param start fun(callback: function)
---@return any ...
local function await(start)
  local thread = coroutine.running()
  start(vim.schedule_wrap(function(...)
    local ok, err = coroutine.resume(thread, ...)
    if not ok then
      error(debug.traceback(thread, err), 0)
    end
  end))
  return coroutine.yield()
end

-- Call a function of libuv. An error is like `EACCES: permission denied: /a/file`.
---@param name string
---@return string? err, any result
local function uv(name, ...)
  local arguments = { ... }
  return await(function(callback)
    table.insert(arguments, callback)
    vim.uv[name](unpack(arguments))
  end)
end

---@param err segue.Error
---@return string
local function describe(err)
  if err.kind == "ServerNotFound" then
    return NOTIFIED
  elseif err.code == METHOD_NOT_FOUND then
    return "the server is too old to export; update it"
  end
  return err.message
end

-- Give each page to *take*, in order, until that returns an error.
---@param id string
---@param format "markdown"|"html"|"jsonl"
---@param take fun(page: segue.ExportPage): string? err
---@return string? err nil if there was none, and *take* has got the last page
local function each_page(id, format, take)
  local cursor
  repeat
    local opts = { session_id = id, format = format, cursor = cursor }
    local failure, page = await(function(callback)
      require("segue").export(opts, callback)
    end)
    if failure then
      return describe(failure)
    end
    if not cursor and page.next_cursor then
      config.notify("the conversation is large; exporting it takes a moment")
    end
    local err = take(page)
    if err then
      return err
    end
    cursor = page.next_cursor
  until not cursor
end

---@param err string
local function notify_error(err)
  if err ~= NOTIFIED then
    config.notify(err, vim.log.levels.ERROR)
  end
end

---@param buffer integer
---@param content string
local function append_text(buffer, content)
  local lines = vim.split(content, "\n", { plain = true })
  lines[1] = vim.api.nvim_buf_get_lines(buffer, -2, -1, false)[1] .. lines[1]
  vim.api.nvim_buf_set_lines(buffer, -2, -1, false, lines)
end

-- The text ends with a line break, which Neovim writes itself.
---@param buffer integer
local function remove_last_line(buffer)
  if vim.api.nvim_buf_get_lines(buffer, -2, -1, false)[1] == "" then
    vim.api.nvim_buf_set_lines(buffer, -2, -1, false, {})
  end
end

---@param id string
---@param mods table
local function export_to_buffer(id, mods)
  local buffer = vim.api.nvim_create_buf(false, true)
  vim.bo[buffer].undolevels = -1
  local name, bytes = nil, 0
  local err = each_page(id, "markdown", function(page)
    if not vim.api.nvim_buf_is_valid(buffer) then
      return "the buffer of the export was deleted"
    end
    name, bytes = page.file_name, bytes + #page.content
    append_text(buffer, page.content)
  end)
  if err then
    pcall(vim.api.nvim_buf_delete, buffer, { force = true })
    return notify_error(err)
  end
  remove_last_line(buffer)
  vim.bo[buffer].undolevels = GLOBAL_UNDOLEVELS
  -- `%:t` is the name that the server gives the file.
  vim.api.nvim_buf_set_name(buffer, ("segue-export://%d/%s"):format(buffer, name))
  vim.cmd({ cmd = "sbuffer", args = { tostring(buffer) }, mods = mods })
  if bytes <= MAX_HIGHLIGHTED_BYTES then
    vim.bo[buffer].filetype = "markdown"
  end
  config.notify("exported to this buffer; :w %:t writes it to a file")
end

--- Show a session as Markdown in a new scratch buffer, as soon as it is complete.
---@param id string
---@param mods table of |nvim_cmd()|
function M.to_buffer(id, mods)
  coroutine.wrap(export_to_buffer)(id, mods)
end

---@param path string
---@return boolean
local function exists(path)
  local _, stat = uv("fs_lstat", path)
  return stat ~= nil
end

---@param path string
---@return string err
local function already_exists(path)
  return ("%s exists; :Segue! export replaces it"):format(vim.fn.fnamemodify(path, ":~"))
end

---@param err? string of libuv
---@param path string
---@return string? err
local function cannot_write(err, path)
  local reason = err and (err:match("^E%u+: ([^:]+)") or err)
  return reason and ("%s cannot be written: %s"):format(vim.fn.fnamemodify(path, ":~"), reason)
end

---@class segue.NewFile
---@field path string The name that it gets when it is complete
---@field temporary string The name until then
---@field fd integer

---@param path string
---@param replaces boolean
---@return string? err, segue.NewFile? file
local function create(path, replaces)
  if not replaces and exists(path) then
    return already_exists(path)
  end
  local temporary = ("%s.%d.part"):format(path, vim.uv.os_getpid())
  local err, fd = uv("fs_open", temporary, "wx", PRIVATE)
  if err then
    return cannot_write(err, path)
  end
  return nil, { path = path, temporary = temporary, fd = fd }
end

---@param file segue.NewFile
---@param content string
---@return string? err
local function write(file, content)
  while content ~= "" do
    local err, count = uv("fs_write", file.fd, content, -1)
    if err then
      return cannot_write(err, file.path)
    end
    content = content:sub(count + 1)
  end
end

---@param file segue.NewFile
---@param replaces boolean
---@return string? err
local function name_file(file, replaces)
  if not replaces then
    local err = uv("fs_link", file.temporary, file.path)
    if not err then
      uv("fs_unlink", file.temporary)
      return nil
    elseif exists(file.path) then
      return already_exists(file.path)
    end -- else the file system has no links
  end
  return cannot_write(uv("fs_rename", file.temporary, file.path), file.path)
end

---@param file segue.NewFile
---@param replaces boolean
---@param err? string Of writing it
---@return string? err
local function finish(file, replaces, err)
  err = err or cannot_write(uv("fs_fsync", file.fd), file.path)
  err = cannot_write(uv("fs_close", file.fd), file.path) or err
  err = err or name_file(file, replaces)
  if err then
    uv("fs_unlink", file.temporary)
  end
  return err
end

-- In a folder, a file has the name that the server gives it.
---@param target string
---@param file_name string
---@return string
local function path_in(target, file_name)
  local path = vim.fn.fnamemodify(target, ":p")
  local _, stat = uv("fs_stat", path)
  local is_folder = stat and stat.type == "directory"
  return is_folder and vim.fs.joinpath(path, file_name) or path
end

---@param id string
---@param format "markdown"|"html"|"jsonl"
---@param target string
---@param replaces boolean
local function export_to_file(id, format, target, replaces)
  local file ---@type segue.NewFile?
  local err = each_page(id, format, function(page)
    local err
    if not file then
      err, file = create(path_in(target, page.file_name), replaces)
    end
    return err or write(assert(file), page.content)
  end)
  if file then
    err = finish(file, replaces, err)
  end
  if err then
    return notify_error(err)
  end
  config.notify("exported to " .. vim.fn.fnamemodify(assert(file).path, ":~"))
end

--- Write a session to a file that is private to its owner, and say where it is.
---@param id string
---@param format "markdown"|"html"|"jsonl"
---@param target string A file, or a folder
---@param replaces boolean Whether a file that exists is replaced
function M.to_file(id, format, target, replaces)
  coroutine.wrap(export_to_file)(id, format, target, replaces)
end

return M

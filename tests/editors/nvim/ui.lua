-- Commands, pickers, transcripts, completion, help and health checks.

local segue = require("segue")

local M = {}

local function new_session(t, contents)
  local session = t.call_ok("open", { mode = "new" })
  segue.append(vim.tbl_map(t.user_message, contents))
  t.wait_until_stored()
  return session.id
end

-- Replace vim.ui.select: choose an item by function, and record each call.
local function stub_select(t, choose)
  local selects = {}
  ---@diagnostic disable-next-line: duplicate-set-field -- replaced, to record its calls
  vim.ui.select = function(items, opts, on_choice)
    local labels = vim.tbl_map(opts.format_item or tostring, items)
    table.insert(selects, { prompt = opts.prompt, kind = opts.kind, items = labels })
    local index = choose(labels)
    on_choice(index and items[index], index)
  end
  return selects
end

function M.picker(t)
  local older = new_session(t, { "The older one\nwith a second line", "again" })
  local newer = new_session(t, { "The newer one" })
  local selects = stub_select(t, function()
    return 2
  end)
  vim.cmd.Segue("resume")
  t.wait("the older one is current", function()
    return segue.current().id == older
  end)
  t.wait("its transcript", function()
    return table.concat(t.lines(), "\n"):find("again", 1, true)
  end)
  local name = vim.api.nvim_buf_get_name(0)
  vim.cmd.only()
  vim.cmd.enew()
  vim.cmd.Segue("resume " .. newer)
  t.wait("the newer one is current", function()
    return segue.current().id == newer
  end)
  return { selects = selects, older = older, newer = newer, name = name }
end

function M.cancelled_and_empty(t)
  vim.cmd.Segue("resume")
  t.wait("a notification", function()
    return #t.notices > 0
  end)
  new_session(t, { "one" })
  local selects = stub_select(t, function()
    return nil
  end)
  vim.cmd.Segue("resume")
  t.wait("the picker", function()
    return #selects > 0
  end)
  return { selects = selects }
end

function M.delete_confirms(t)
  local id = new_session(t, { "precious" })
  local choice = 1
  local selects = stub_select(t, function()
    return choice
  end)
  vim.cmd.Segue("delete")
  vim.wait(100)
  local kept = #t.call_ok("list", {}).sessions
  choice = 2
  vim.cmd.Segue("delete")
  t.wait("no session is open", function()
    return segue.current() == nil
  end)
  return { id = id, selects = selects, kept = kept, left = #t.call_ok("list", {}).sessions }
end

function M.transcript(t)
  local contents = {}
  for number = 1, 350 do
    contents[number] = ("message %03d"):format(number)
  end
  local id = new_session(t, contents)
  vim.cmd.Segue("show")
  local function content()
    return table.concat(t.lines(), "\n")
  end
  t.wait("the newest page", function()
    return content():find("message 350", 1, true)
  end)
  local report = {
    name = vim.api.nvim_buf_get_name(0),
    filetype = vim.bo.filetype,
    modifiable = vim.bo.modifiable,
    at_end = vim.fn.line(".") == vim.fn.line("$"),
    first_page = { content():match("message %d+"), select(2, content():gsub("message %d+", "")) },
    pages = 0,
    view_is_kept = true,
  }
  while not content():find("Start of conversation", 1, true) do
    assert(report.pages < 10, "too many pages")
    local lines = vim.fn.line("$")
    vim.cmd("normal! gg")
    local heading, message = vim.fn.getline(3), vim.fn.getline(5)
    vim.api.nvim_exec_autocmds("CursorMoved", { buffer = 0 })
    t.wait("an older page", function()
      return vim.fn.line("$") > lines
    end)
    local top = vim.fn.line("w0")
    report.view_is_kept = report.view_is_kept
      and top == vim.fn.line(".")
      and vim.fn.getline(top + 2) == heading
      and vim.fn.getline(top + 4) == message
    report.pages = report.pages + 1
  end
  local order = {}
  for number in content():gmatch("message (%d+)") do
    table.insert(order, tonumber(number))
  end
  report.order = order
  report.id = id
  report.change_fails = not pcall(vim.cmd, "normal! dd") or vim.fn.line("$") == #t.lines()
  report.api_can_change = pcall(vim.api.nvim_buf_set_lines, 0, 0, 1, false, { "no" })
  vim.cmd("normal! G")
  segue.append(t.user_message("message 351"))
  t.wait("the new event", function()
    return content():find("message 351", 1, true)
  end)
  report.follows = vim.fn.line(".") == vim.fn.line("$")
  vim.cmd.edit()
  t.wait("the reloaded page", function()
    return content():find("message 252", 1, true) and not content():find("message 251", 1, true)
  end)
  return report
end

function M.followed(t)
  t.call_ok("open", { mode = "new" })
  segue.append(t.user_message("mine"))
  t.wait_until_stored()
  local id = segue.current().id
  local function wait_for_line(line)
    t.wait(line, function()
      return vim.tbl_contains(t.lines(), line)
    end)
  end
  vim.cmd.Segue("show")
  wait_for_line("mine")
  t.set_flag("shown " .. id)
  wait_for_line("from another editor")
  t.kill_server()
  t.set_flag("killed")
  wait_for_line("after the kill")
  vim.cmd.close()
  t.set_flag("closed")
  t.wait_for_flag("appended while it was closed")
  vim.cmd.Segue("show")
  wait_for_line("while it was closed")
  return { lines = t.lines() }
end

function M.every_event_type(t)
  t.call_ok("open", { mode = "new" })
  segue.append({
    t.user_message("Please look at\nparser.py"),
    { type = "text", data = { content = "I am looking.\n\n```python\nx = 1\n```" } },
    { type = "tool_call", data = { id = "c1", name = "read_file", input = { path = "parser.py" } } },
    {
      type = "tool_result",
      data = { tool_use_id = "c1", content = "```\ninner\n```\r\nend", is_error = true },
    },
    { type = "skill_invocation", data = { name = "review", content = "Review it" } },
    { type = "out_of_band_output", data = { name = "make", content = "all good" } },
    { type = "system_context", data = { content = "a note" } },
    { type = "x/unknown", data = { any = "thing" } },
  })
  t.wait_until_stored()
  vim.cmd.Segue("show")
  t.wait("the last event", function()
    return table.concat(t.lines(), "\n"):find("thing", 1, true)
  end)
  return { lines = t.lines() }
end

function M.plain_buffers(t)
  vim.api.nvim_buf_set_lines(0, 0, -1, false, { "first line", "second line", "third line" })
  vim.cmd("Segue append user_message   what | is \"this\"?")
  vim.cmd("2,3Segue append text")
  vim.cmd.normal({ vim.keycode("ggwv$h") .. vim.keycode("<Plug>(segue-append)"), bang = false })
  vim.cmd("Segue append poem x")
  vim.cmd("Segue append text")
  vim.cmd("Segue nonsense")
  t.wait_until_stored()
  local page = t.call_ok("events", {})
  return {
    events = vim.tbl_map(function(event)
      return { event.type, event.data.content }
    end, page.events),
  }
end

function M.info_and_list(t)
  local echoed = {}
  local echo = vim.api.nvim_echo
  ---@diagnostic disable-next-line: duplicate-set-field -- replaced, to record its output
  vim.api.nvim_echo = function(chunks, ...)
    table.insert(
      echoed,
      table.concat(vim.tbl_map(function(chunk)
        return chunk[1]
      end, chunks))
    )
    return echo(chunks, ...)
  end
  local function output_of(command)
    local count = #echoed
    vim.cmd.Segue(command)
    t.wait(command, function()
      return #echoed > count
    end)
    return echoed[#echoed]
  end
  local before = output_of("info")
  local id = new_session(t, { "Fix the parser" })
  local report = { before = before, info = output_of("info"), list = output_of("list"), id = id }
  vim.cmd.Segue("log")
  report.log = vim.api.nvim_buf_get_name(0)
  report.log_path = vim.lsp.log.get_filename()
  return report
end

function M.completion(t)
  local function completed(line)
    return vim.fn.getcompletion(line, "cmdline")
  end
  local other = new_session(t, { "Fix the parser" })
  local id = new_session(t, { "one" })
  completed("Segue show ")
  t.call_ok("list", {})
  vim.wait(50)
  vim.cmd("Segue show " .. completed("Segue show PARS")[1])
  return {
    id = id,
    shown = vim.api.nvim_buf_get_name(0),
    all = completed("Segue "),
    started = completed("Segue re"),
    append = completed("Segue append "),
    list = completed("Segue list a"),
    other = other,
    show = completed("Segue show "),
    by_title = completed("Segue resume PARS"),
    export = completed("Segue export " .. other:sub(1, -2)),
    nothing = completed("Segue info "),
  }
end

function M.footprint(t)
  local names = { "resume", "new", "list", "show", "archive", "delete", "info", "log" }
  vim.list_extend(names, { "fork", "rewind", "undo", "rename", "export" })
  local missing = vim.tbl_filter(function(name)
    return vim.fn.maparg(("<Plug>(segue-%s)"):format(name), "n") == ""
  end, names)
  local mapped = {}
  for _, mode in ipairs({ "n", "x", "i", "c", "o", "t" }) do
    for _, map in ipairs(vim.api.nvim_get_keymap(mode)) do
      local description = (map.desc or "") .. (map.rhs or "")
      if description:find("[Ss]egue") and not vim.startswith(map.lhs, "<Plug>(segue-") then
        table.insert(mapped, map.lhs)
      end
    end
  end
  local loaded = vim.tbl_filter(function(name)
    return vim.startswith(name, "segue.")
  end, vim.tbl_keys(package.loaded))
  local globals = vim.tbl_filter(function(name)
    return name:lower():find("segue") ~= nil
  end, vim.tbl_filter(function(name)
    return type(name) == "string"
  end, vim.tbl_keys(_G)))
  return { missing = missing, mapped = mapped, loaded = loaded, globals = globals }
end

function M.help(t)
  vim.cmd.helptags(vim.fs.joinpath(t.args.plugin, "doc"))
  local found = {}
  for _, tag in ipairs(t.args.tags) do
    local ok, err = pcall(vim.cmd.help, tag)
    found[tag] = ok and vim.fs.basename(vim.api.nvim_buf_get_name(0)) or err
  end
  return { found = found }
end

function M.health(t)
  t.call_ok("append", t.user_message("one"), nil)
  vim.cmd.checkhealth("segue")
  return { text = table.concat(t.lines(), "\n") }
end

function M.invalid_settings(t)
  vim.g.segue = {
    cmd = t.args.cmd,
    continue_minutes = "an hour",
    colour = "red",
    search_picker = "fzf",
  }
  t.call_ok("open", nil)
  require("segue.config").get()
  vim.cmd.checkhealth("segue")
  require("segue").setup({ continue_minutes = 5, notify = false })
  local set = vim.g.segue.continue_minutes
  require("segue.config").notify("only information")
  require("segue.config").notify("a warning", vim.log.levels.WARN)
  vim.wait(50)
  return { health = table.concat(t.lines(), "\n"), set = set }
end

return M

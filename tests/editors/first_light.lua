-- One life of a real editor. It is told what to do by its environment:
--   FIRST_LIGHT_COMMAND  the server's command, as a JSON array
--   FIRST_LIGHT_REPORT   the file that gets what was seen, as JSON
--   FIRST_LIGHT_EVENTS   how many events to append without waiting before it quits

local appended = tonumber(vim.env.FIRST_LIGHT_EVENTS)

local function report(seen)
  vim.fn.writefile({ vim.json.encode(seen) }, vim.env.FIRST_LIGHT_REPORT)
end

local function run()
  local root = vim.uv.cwd()
  local id = assert(vim.lsp.start({
    name = "segue",
    cmd = vim.json.decode(vim.env.FIRST_LIGHT_COMMAND),
    root_dir = root,
  }, { attach = false }))
  local client = assert(vim.lsp.get_client_by_id(id))
  assert(
    vim.wait(20000, function()
      return client.initialized == true
    end, 5),
    "the server did not answer initialize"
  )

  local answer = assert(client:request_sync("session/open", {
    workspace = vim.uri_from_fname(root),
    tail = 1000,
  }, 20000))
  assert(not answer.err, vim.inspect(answer.err))
  local opened = answer.result

  local contents = {}
  for _, event in ipairs(opened.events) do
    table.insert(contents, event.data.content)
  end
  report({
    session = opened.session.sessionId,
    resumed = opened.resumed,
    contents = contents,
    sync = client.server_capabilities.textDocumentSync or vim.NIL,
    editor = vim.uv.os_getpid(),
  })

  for number = 1, appended do
    client:request("session/append", {
      sessionId = opened.session.sessionId,
      events = { { type = "user_message", data = { content = "event " .. number } } },
    }, function() end)
  end
end

local ok, problem = xpcall(run, debug.traceback)
if not ok then
  report({ problem = tostring(problem) })
  vim.cmd("cquit!")
end
vim.cmd("qa!")

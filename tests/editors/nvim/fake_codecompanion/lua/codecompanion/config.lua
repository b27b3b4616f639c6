-- The user's adapters, as the real plugin has them.

local function http(name, choices)
  return { name = name, type = "http", schema = { model = { default = "m", choices = choices } } }
end

return {
  adapters = {
    http = { fake = http("fake", { "m" }), other = http("other", { m = {}, n = {} }) },
    acp = { scripted = { name = "scripted", type = "acp", defaults = {} } },
  },
}

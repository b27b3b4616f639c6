--- Highlights what a search has found in the lines of a buffer.

local M = {}

local namespace = vim.api.nvim_create_namespace("segue_matches")

vim.api.nvim_set_hl(0, "SegueMatch", { link = "Search", default = true })

--- The texts that were found, each once, as the excerpt of a hit has them.
---@param hit segue.SearchHit
---@return string[]
function M.words(hit)
  local words, seen = {}, {}
  for _, piece in ipairs(hit.excerpt) do
    local word = piece.text:lower()
    if piece.match and not seen[word] then
      seen[word] = true
      table.insert(words, piece.text)
    end
  end
  return words
end

---@param word string
---@return string pattern White space in a word is of any kind and length.
local function to_pattern(word)
  return "\\c\\V" .. vim.fn.escape(word, "\\"):gsub("%s+", "\\s\\+")
end

--- Highlight words in the lines *first* to *last* (from 0, exclusive), and nowhere else.
---@param buffer integer
---@param first integer
---@param last integer
---@param words string[]
---@return integer? row of the first line that has one of them
function M.highlight(buffer, first, last, words)
  vim.api.nvim_buf_clear_namespace(buffer, namespace, 0, -1)
  local patterns = vim.tbl_map(to_pattern, words)
  local found
  for index, line in ipairs(vim.api.nvim_buf_get_lines(buffer, first, last, false)) do
    local row = first + index - 1
    for _, pattern in ipairs(patterns) do
      local from, to = unpack(vim.fn.matchstrpos(line, pattern), 2)
      while from >= 0 and to > from do
        found = found or row
        vim.api.nvim_buf_set_extmark(buffer, namespace, row, from, {
          end_col = to,
          hl_group = "SegueMatch",
          priority = 200, -- above treesitter
        })
        from, to = unpack(vim.fn.matchstrpos(line, pattern, to), 2)
      end
    end
  end
  return found
end

return M

-- Ghost text as text: what of it is typed already, and how much a key takes over. No drawing.
local M = {}

M.METHOD = 'textDocument/inlineCompletion'

-- A buffer's lines have no line ends, whatever 'fileformat' says; a \r would stay as ^M.
function M.plain(text)
  return (text:gsub('\r\n?', '\n'))
end

-- The text between a place and the cursor, or nil when the cursor is before it. 0-based, bytes.
function M.typed(bufnr, row, col)
  local cursor = vim.api.nvim_win_get_cursor(0)
  local cursor_row, cursor_col = cursor[1] - 1, cursor[2]
  if cursor_row < row or (cursor_row == row and cursor_col < col) then
    return nil
  end
  local ok, lines = pcall(vim.api.nvim_buf_get_text, bufnr, row, col, cursor_row, cursor_col, {})
  return ok and table.concat(lines, '\n') or nil
end

-- What is left of `text` behind `typed`; nil when it says something else, or nothing more.
function M.rest(text, typed)
  if typed and #typed < #text and text:sub(1, #typed) == typed then
    return text:sub(#typed + 1)
  end
  return nil
end

local function next_part(rest, part)
  if part == 'word' then
    return rest:match('^%s*[%w_\128-\255]+') or rest:match('^%s*[^%w_%s\128-\255]+') or rest
  elseif part == 'line' then
    local blank = rest:match('^%s*\n') or ''
    local line = rest:sub(#blank + 1):match('^[^\n]*%S[^\n]*')
    return line and blank .. line or rest
  end
  return rest
end

-- The beginning of `rest` that is accepted: so many words or lines, one by default. A word takes
-- along what stands before it; bytes above 127 belong to words, so that no character is cut. A line
-- takes along the blank ones before it.
function M.chunk(rest, part, count)
  local chunk = ''
  for _ = 1, count or 1 do
    chunk = chunk .. next_part(rest:sub(#chunk + 1), part)
  end
  return chunk
end

-- The byte of a column as the server counts it.
function M.byte_col(bufnr, row, character, encoding)
  local line = vim.api.nvim_buf_get_lines(bufnr, row, row + 1, false)[1] or ''
  if encoding == 'utf-8' then
    return math.min(character, #line)
  end
  if vim.fn.has('nvim-0.11') == 1 then
    return vim.str_byteindex(line, encoding, character, false)
  end
  local utf32, utf16 = vim.str_utfindex(line)
  if character >= (encoding == 'utf-16' and utf16 or utf32) then
    return #line
  end
  return vim.str_byteindex(line, character, encoding == 'utf-16')
end

local function utf16_length(text)
  if vim.fn.has('nvim-0.11') == 1 then
    return vim.str_utfindex(text, 'utf-16')
  end
  local _, utf16 = vim.str_utfindex(text)
  return utf16
end

local function notify(client, method, params)
  require('infill_ls.server').call(client, 'notify', method, params)
end

-- The server counts what was shown and taken by the command in its items; others want nothing.
function M.report_shown(client, item)
  if item.command then
    notify(client, 'textDocument/didShowCompletion', { item = item })
  end
end

-- `typed` is the beginning of what is accepted that was typed before.
function M.report_partly_accepted(client, item, accepted, typed)
  if item.command then
    notify(client, 'textDocument/didPartiallyAcceptCompletion', {
      item = item,
      acceptedLength = utf16_length(accepted),
      typedLength = utf16_length(typed),
    })
  end
end

function M.report_dismissed(client, item)
  local about = item.command and item.command.arguments
  if about then
    local params = { command = 'infill.dismissed', arguments = about }
    local call = require('infill_ls.server').call
    call(client, 'request', 'workspace/executeCommand', params, function() end)
  end
end

return M

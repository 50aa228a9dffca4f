-- What there is to say about suggestions: why, when not, and how many were taken. The server knows.
local server = require('infill_ls.server')

local M = {}

local NAME = 'infill://explain'
local STALE_MS = 60000 -- after which the counts are asked for again

local counted = { text = '', at = nil }

local function ask(bufnr, command, argument, handler)
  local client = server.client(bufnr) or server.clients()[1]
  if not client then
    vim.notify('infill: no server for this buffer; :checkhealth infill_ls', 3)
    return
  end
  local params = { command = command, arguments = argument and { argument } or nil }
  server.call(client, 'request', 'workspace/executeCommand', params, function(err, result)
    if err then
      vim.notify('infill: ' .. err.message, vim.log.levels.ERROR)
    else
      handler(result)
    end
  end, bufnr)
end

-- A page that is read and not kept: it is in no file.
local function show(markdown)
  local page = vim.fn.bufnr(NAME)
  if page == -1 then
    page = vim.api.nvim_create_buf(false, true)
    vim.api.nvim_buf_set_name(page, NAME)
  end
  vim.bo[page].modifiable = true
  vim.api.nvim_buf_set_lines(page, 0, -1, false, vim.split(markdown, '\n', { trimempty = true }))
  vim.bo[page].bufhidden = 'wipe'
  -- Quietly: where there is no parser for it, Neovim's own Markdown fails with a message.
  vim.api.nvim_buf_call(page, function()
    vim.cmd('silent! setlocal filetype=markdown')
  end)
  vim.bo[page].modifiable = false
  vim.keymap.set('n', 'q', '<Cmd>close<CR>', { buffer = page, desc = 'Close this page' })
  local window = vim.fn.bufwinid(page)
  if window == -1 then
    vim.cmd('stopinsert | vertical sbuffer ' .. page)
  else
    vim.api.nvim_set_current_win(window)
  end
end

-- Where ghost text is, or was: once insert mode is left, the cursor is before its place.
local function place(client)
  local row, col = unpack(vim.api.nvim_win_get_cursor(0))
  local left = vim.api.nvim_buf_get_mark(0, '^')
  if vim.api.nvim_get_mode().mode:sub(1, 1) ~= 'i' and left[1] == row then
    col = math.min(left[2], #vim.api.nvim_get_current_line())
  end
  local range = vim.lsp.util.make_given_range_params(
    { row, col },
    { row, col },
    0,
    client.offset_encoding
  ).range
  return range.start
end

function M.explain()
  local bufnr = vim.api.nvim_get_current_buf()
  local client = server.client(bufnr)
  local about = { uri = vim.uri_from_bufnr(bufnr), position = client and place(client) }
  ask(bufnr, 'infill.explain', about, function(result)
    if type(result) == 'table' and result.markdown then
      show(result.markdown)
    end
  end)
end

function M.snooze(minutes)
  ask(0, 'infill.snooze', minutes and { minutes = minutes }, function(result)
    local snoozed = result and result.snoozed or ''
    vim.notify('infill: ' .. (snoozed ~= '' and snoozed or 'awake'))
  end)
end

-- What was learned of the user; the server says that it did.
function M.forget()
  ask(0, 'infill.resetLearned', nil, function()
    counted.at = nil
  end)
end

local function percent(of)
  return of.looked_at > 0 and (', %d%% kept'):format(100 * of.kept / of.looked_at) or ''
end

local function sentence(of)
  return of.characters > 0 and ('%d accepted%s'):format(of.characters, percent(of)) or ''
end

-- What is known; it is asked for again when that is old.
function M.stats()
  local now = vim.uv.now()
  if (not counted.at or now - counted.at > STALE_MS) and server.clients()[1] then
    counted.at = now
    ask(0, 'infill.stats', nil, function(result)
      counted.text = sentence(result.all)
      vim.cmd.redrawstatus({ bang = true })
    end)
  end
  return counted.text
end

function M.tell_stats()
  ask(0, 'infill.stats', nil, function(result)
    local all = result.all
    vim.notify(
      ('infill: of %d suggestions since %s %d were accepted, %d characters%s'):format(
        all.shown,
        result.since,
        all.accepted,
        all.characters,
        percent(all)
      )
    )
  end)
end

return M

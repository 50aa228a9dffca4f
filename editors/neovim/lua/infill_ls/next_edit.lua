-- What is likely to be edited next, shown where it stands: one key goes there, and once there makes
-- the edit. Asked for in normal mode, after an edit, and of a file that you come to after edits of
-- others; while you type, ghost text has the say.
local text = require('infill_ls.text')

local M = {}

M.METHOD = 'textDocument/copilotInlineEdit'
local NAMESPACE = vim.api.nvim_create_namespace('infill_ls.next_edit')
local FAR = 3 -- lines from the cursor, beyond which a key goes there first
local MOST_LINES = 12 -- of the new text that are drawn

local shown -- { bufnr, client_id, edit, tick, row, end_row }
local pending -- { client_id, id } of the request under way
local dismissed = {} -- by buffer, the change of its text that nothing more is wanted for
local tries = 0 -- counts requests: what an older one planned is no longer wanted

local function server()
  return require('infill_ls.server')
end

local function highlights()
  vim.api.nvim_set_hl(0, 'InfillNextEditOld', { link = 'DiffDelete', default = true })
  vim.api.nvim_set_hl(0, 'InfillNextEditNew', { link = 'DiffAdd', default = true })
  vim.api.nvim_set_hl(0, 'InfillNextEditHint', { link = 'Comment', default = true })
end

local function cancel()
  tries = tries + 1
  local client = pending and vim.lsp.get_client_by_id(pending.client_id)
  if client and pending.id then
    server().call(client, 'cancel_request', pending.id)
  end
  pending = nil
end

function M.clear()
  cancel()
  if shown and vim.api.nvim_buf_is_valid(shown.bufnr) then
    vim.api.nvim_buf_clear_namespace(shown.bufnr, NAMESPACE, 0, -1)
  end
  shown = nil
end

-- Only for the text that it was made for.
local function current()
  local bufnr = vim.api.nvim_get_current_buf()
  return shown
    and shown.bufnr == bufnr
    and vim.api.nvim_buf_get_changedtick(bufnr) == shown.tick
    and shown
end

function M.visible()
  return current() and true or false
end

local function far(offer)
  local row = vim.api.nvim_win_get_cursor(0)[1] - 1
  return row < offer.row - FAR or row > math.max(offer.end_row, offer.row) + FAR
end

local function hint(offer)
  local keys = require('infill_ls.config').get().keymaps
  local key = keys.next_edit and keys.next_edit ~= '' and (' ' .. keys.next_edit) or ''
  return ('next edit: line %d%s'):format(offer.row + 1, key)
end

-- The old lines in red, the new ones below them; where it is out of sight, a word beside the cursor.
local function draw(offer)
  local bufnr, count = offer.bufnr, vim.api.nvim_buf_line_count(offer.bufnr)
  vim.api.nvim_buf_clear_namespace(bufnr, NAMESPACE, 0, -1)
  for row = offer.row, math.min(offer.end_row, count) - 1 do
    vim.api.nvim_buf_set_extmark(bufnr, NAMESPACE, row, 0, { line_hl_group = 'InfillNextEditOld' })
  end
  local lines = {}
  for index, line in ipairs(offer.lines) do
    if index > MOST_LINES then
      lines[#lines + 1] = { { '…', 'InfillNextEditHint' } }
      break
    end
    lines[#lines + 1] = { { line == '' and ' ' or line, 'InfillNextEditNew' } }
  end
  if #lines > 0 then
    local above = offer.end_row == offer.row and offer.row < count
    local row = above and offer.row or math.max(math.min(offer.end_row, count) - 1, 0)
    vim.api.nvim_buf_set_extmark(bufnr, NAMESPACE, row, 0, {
      virt_lines = lines,
      virt_lines_above = above,
    })
  end
  local first, last = vim.fn.line('w0') - 1, vim.fn.line('w$') - 1
  if offer.row < first or offer.row > last then
    local row = vim.api.nvim_win_get_cursor(0)[1] - 1
    vim.api.nvim_buf_set_extmark(bufnr, NAMESPACE, row, 0, {
      virt_text = { { hint(offer), 'InfillNextEditHint' } },
      virt_text_pos = 'eol',
    })
  end
end

-- The server's edits are of whole lines; a range that ends where a line begins leaves that line.
local function offer_of(bufnr, client, edit)
  local range, lines = edit.range, vim.split(text.plain(edit.text), '\n', { plain = true })
  local end_row = range['end'].line
  if range['end'].character > 0 then
    end_row = end_row + 1
  elseif lines[#lines] == '' then
    lines[#lines] = nil
  end
  return {
    bufnr = bufnr,
    client_id = client.id,
    edit = edit,
    lines = lines,
    tick = vim.api.nvim_buf_get_changedtick(bufnr),
    row = range.start.line,
    end_row = math.max(end_row, range.start.line),
  }
end

function M.request()
  M.clear()
  local bufnr = vim.api.nvim_get_current_buf()
  local client = server().client(bufnr)
  if not client or not client.initialized then
    return
  end
  local tick = vim.api.nvim_buf_get_changedtick(bufnr)
  local params = vim.lsp.util.make_position_params(0, client.offset_encoding)
  params.textDocument.version = vim.lsp.util.buf_versions[bufnr]
  local mine = { client_id = client.id }
  pending = mine
  local sent, id = server().call(client, 'request', M.METHOD, params, function(err, result)
    if pending ~= mine then
      return -- overtaken
    end
    pending = nil
    local edit = not err and type(result) == 'table' and (result.edits or {})[1]
    if not edit or vim.api.nvim_get_current_buf() ~= bufnr then
      return
    end
    if vim.api.nvim_buf_get_changedtick(bufnr) ~= tick then
      return
    end
    shown = offer_of(bufnr, client, edit)
    draw(shown)
    server().call(client, 'notify', 'textDocument/didShowInlineEdit', { item = edit })
  end, bufnr)
  mine.id = sent and id or nil
end

local function soon()
  cancel()
  local mine = tries
  vim.defer_fn(function()
    if mine == tries and vim.api.nvim_get_mode().mode == 'n' then
      M.request()
    end
  end, require('infill_ls.config').get().debounce_ms)
end

local function go_to(row)
  vim.cmd("normal! m'")
  local last = vim.api.nvim_buf_line_count(0)
  vim.api.nvim_win_set_cursor(0, { math.min(row + 1, last), 0 })
  vim.cmd('normal! ^')
end

-- Goes to where it is when that is far, else makes the edit; false where nothing is shown.
function M.accept()
  local offer = current()
  if not offer then
    return false
  end
  if far(offer) then
    go_to(offer.row)
    draw(offer)
    return true
  end
  local client = vim.lsp.get_client_by_id(offer.client_id)
  M.clear()
  if not client then
    return false
  end
  local edit = { range = offer.edit.range, newText = text.plain(offer.edit.text) }
  vim.lsp.util.apply_text_edits({ edit }, offer.bufnr, client.offset_encoding)
  go_to(math.max(offer.row + #offer.lines - 1, offer.row))
  if offer.edit.command then
    local command = { command = offer.edit.command.command, arguments = offer.edit.command.arguments }
    server().call(client, 'request', 'workspace/executeCommand', command, function() end, offer.bufnr)
  end
  soon()
  return true
end

function M.dismiss()
  local offer = current()
  if not offer then
    return false
  end
  dismissed[offer.bufnr] = offer.tick
  M.clear()
  return true
end

function M.attach(bufnr)
  if not require('infill_ls.config').get().next_edit then
    return
  end
  highlights()
  local group = vim.api.nvim_create_augroup('infill_ls.next_edit.' .. bufnr, { clear = true })
  local function on(events, callback)
    vim.api.nvim_create_autocmd(events, { group = group, buffer = bufnr, callback = callback })
  end
  local asked -- the change that was asked about last: leaving insert mode may have changed nothing
  on({ 'TextChanged', 'InsertLeave' }, function()
    local tick = vim.api.nvim_buf_get_changedtick(bufnr)
    if tick ~= asked and tick ~= dismissed[bufnr] then
      asked = tick
      soon()
    end
  end)
  local function entered()
    if dismissed[bufnr] ~= vim.api.nvim_buf_get_changedtick(bufnr) then
      soon()
    end
  end
  on('BufEnter', entered)
  on('BufWipeout', function()
    dismissed[bufnr] = nil
  end)
  on({ 'InsertEnter', 'TextChangedI', 'BufLeave' }, M.clear)
  if vim.api.nvim_get_current_buf() == bufnr then
    entered()
  end
end

return M

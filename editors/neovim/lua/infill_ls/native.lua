-- Neovim's own inline completion (0.12), with what it lacks: superseded requests are cancelled, ghost text that was typed past disappears at once, accepting while typing does not
-- double characters, \r\n does not end up in the buffer, and words and lines can be accepted.
local text = require('infill_ls.text')

local M = {}

local INVOKED = 1
local NAMESPACE = 'nvim.lsp.inline_completion' -- the one documented handle on what it shows

local pending = {} -- by buffer: { client_id, id } of the request under way
local last = {} -- by buffer: { client_id, items } as last shown
local invoke = {} -- buffers whose next request the user asked for

local function marks(bufnr)
  local namespace = vim.api.nvim_create_namespace(NAMESPACE)
  return vim.api.nvim_buf_get_extmarks(bufnr, namespace, 0, -1, { details = true })
end

function M.visible()
  for _, mark in ipairs(marks(0)) do
    local details = mark[4]
    if #(details.virt_lines or {}) > 0 then
      return true
    end
    for _, chunk in ipairs(details.virt_text or {}) do
      if chunk[1] ~= '' then
        return true
      end
    end
  end
  return false
end

local function hide(bufnr)
  vim.api.nvim_buf_clear_namespace(bufnr, vim.api.nvim_create_namespace(NAMESPACE), 0, -1)
end

local function cleaned(result)
  local items = result and (result.items or result) or {}
  for _, item in ipairs(items) do
    if type(item.insertText) == 'string' then
      item.insertText = text.plain(item.insertText)
    end
  end
  return { items = items }
end

-- All requests of the client pass here, for Neovim has no hook between its request and its drawing.
function M.prepare(client)
  local request = client.request
  client.request = function(self, method, params, handler, bufnr)
    if method ~= text.METHOD then
      return request(self, method, params, handler, bufnr)
    end
    bufnr = (bufnr == nil or bufnr == 0) and vim.api.nvim_get_current_buf() or bufnr
    if invoke[bufnr] then
      invoke[bufnr] = nil
      params.context.triggerKind = INVOKED
    end
    local before = pending[bufnr]
    if before and before.client_id == self.id then -- not one of a server that is gone
      self:cancel_request(before.id)
    end
    local mine = { client_id = self.id }
    pending[bufnr] = mine
    local tick = vim.api.nvim_buf_get_changedtick(bufnr)
    local sent, id = request(self, method, params, function(err, result, context)
      if pending[bufnr] ~= mine then
        return -- overtaken: its empty answer must not wipe out what is shown
      end
      pending[bufnr] = nil
      local valid = vim.api.nvim_buf_is_loaded(bufnr)
      if not valid or err or vim.api.nvim_buf_get_changedtick(bufnr) ~= tick then
        return
      end
      result = cleaned(result)
      last[bufnr] = { client_id = self.id, items = result.items }
      handler(err, result, context)
      if result.items[1] then
        text.report_shown(self, result.items[1])
      end
    end, bufnr)
    mine.id = id
    return sent, id
  end
end

-- Where an item begins, in bytes.
local function start_of(bufnr, item, client)
  local start = item.range and item.range.start
  if not start then
    return nil
  end
  return start.line, text.byte_col(bufnr, start.line, start.character, client.offset_encoding)
end

-- Neovim shows an item on, less a character, when another character was typed.
local function hide_if_typed_past(bufnr)
  local shown = last[bufnr]
  local client = shown and vim.lsp.get_client_by_id(shown.client_id)
  if not client or #shown.items == 0 then
    return
  end
  for _, item in ipairs(shown.items) do
    local row, col = start_of(bufnr, item, client)
    local typed = row and text.typed(bufnr, row, col)
    if type(item.insertText) ~= 'string' or text.rest(item.insertText, typed) then
      return
    end
  end
  hide(bufnr)
end

function M.attach(_, bufnr)
  vim.lsp.inline_completion.enable(true, { bufnr = bufnr })
  local group = vim.api.nvim_create_augroup('infill_ls.native.' .. bufnr, { clear = true })
  -- Behind Neovim's own handler, which is made on this turn of the loop at the latest.
  vim.schedule(function()
    if not vim.api.nvim_buf_is_valid(bufnr) then
      return
    end
    vim.api.nvim_create_autocmd({ 'CursorMovedI', 'TextChangedP' }, {
      group = group,
      buffer = bufnr,
      callback = function()
        hide_if_typed_past(bufnr)
      end,
    })
  end)
  vim.api.nvim_create_autocmd('InsertLeave', {
    group = group,
    buffer = bufnr,
    callback = function()
      pending[bufnr] = nil
    end,
  })
end

-- The item as it must be applied now. Neovim applies it where it was asked for: a character typed
-- since then would be there twice (neovim#36529).
local function adjusted(item, part, count)
  if type(item.insert_text) ~= 'string' or not item.range then
    return item
  end
  local bufnr = vim.api.nvim_get_current_buf()
  local row, col, end_row, end_col = item.range:to_extmark()
  local typed = text.typed(bufnr, row, col)
  local rest = text.rest(item.insert_text, typed)
  if not rest then
    return nil
  end
  local cursor = vim.api.nvim_win_get_cursor(0)
  local cursor_row, cursor_col = cursor[1] - 1, cursor[2]
  local chunk = text.chunk(rest, part, count)
  if chunk ~= rest then
    local client = vim.lsp.get_client_by_id(item.client_id)
    if client then
      local reported = { insertText = item.insert_text, command = item.command }
      text.report_partly_accepted(client, reported, typed .. chunk, typed)
    end
    item.insert_text, item.command = typed .. chunk, nil
    end_row, end_col = cursor_row, cursor_col
  end
  if end_row < cursor_row or (end_row == cursor_row and end_col < cursor_col) then
    end_row, end_col = cursor_row, cursor_col
  end
  item.range = vim.range.extmark(bufnr, row, col, end_row, end_col)
  return item
end

function M.accept(part, count)
  return vim.lsp.inline_completion.get({
    on_accept = function(item)
      return adjusted(item, part, count)
    end,
  })
end

-- Accepting nothing is the one public way to make it forget the item.
function M.dismiss()
  hide(0)
  local shown = last[vim.api.nvim_get_current_buf()]
  local client = shown and vim.lsp.get_client_by_id(shown.client_id)
  if client and shown.items[1] then
    text.report_dismissed(client, shown.items[1])
  end
  last[vim.api.nvim_get_current_buf()] = nil
  return vim.lsp.inline_completion.get({
    on_accept = function()
      return nil
    end,
  })
end

function M.select(count)
  vim.lsp.inline_completion.select({ count = count })
  return true
end

-- Neovim itself only ever asks on its own account; the next request it makes is made ours.
function M.trigger()
  local bufnr = vim.api.nvim_get_current_buf()
  invoke[bufnr] = true
  vim.api.nvim_exec_autocmds('CursorMovedI', { buffer = bufnr })
end

return M

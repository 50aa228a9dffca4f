-- Neovim (0.10 to 0.12) stops listening to a buffer at the first key without any client, and goes on
-- to believe that it listens: a server that came back would never receive another change. So we
-- notice the same moment, and before the next start make it believe otherwise. The table is hidden
-- in a closure; where it is not found, nothing is done.
local M = {}

local lost = {} -- buffers that Neovim no longer listens to
local watched = {}

function M.watch(bufnr)
  if watched[bufnr] then
    return
  end
  watched[bufnr] = true
  vim.api.nvim_buf_attach(bufnr, false, {
    on_lines = function()
      if #vim.lsp.get_clients({ bufnr = bufnr, _uninitialized = true }) == 0 then
        lost[bufnr] = true
      end
    end,
    on_detach = function()
      watched[bufnr] = nil
      lost[bufnr] = nil
    end,
  })
end

local function upvalue(of, wanted_name)
  for i = 1, 60 do
    local name, value = debug.getupvalue(of, i)
    if name == wanted_name or name == nil then
      return value
    end
  end
end

function M.listen_again()
  local attach = upvalue(vim.lsp.buf_attach_client, 'buf_attach') or vim.lsp.buf_attach_client
  local believed = upvalue(attach, 'attached_buffers')
  for bufnr in pairs(lost) do
    lost[bufnr] = nil
    if type(believed) == 'table' then
      believed[bufnr] = nil
    end
  end
end

return M

-- How the program is called: what is added to the command that was found or configured.
local config = require('infill_ls.config')

local M = {}

-- The settings that say which model runs and how; each is an option of the command line.
local function of_the_model(name)
  return vim.tbl_contains({ 'model', 'judge', 'adapter', 'device', 'dtype', 'threads' }, name)
    or vim.startswith(name, 'remote')
end

local function model_options()
  local given = {}
  for name, value in vim.spairs(config.get().settings) do
    if of_the_model(name) then
      local option = '--' .. name:gsub('%u', function(letter)
        return '-' .. letter:lower()
      end)
      if value == true then
        given[#given + 1] = option
      elseif type(value) == 'number' or (type(value) == 'string' and value ~= '') then
        vim.list_extend(given, { option, tostring(value) })
      end
    end
  end
  return given
end

-- To serve. One server is shared by all that are started like this; the model's settings are given
-- here too, so that editors with different ones get one each. A configured command is left as it is.
function M.to_serve(command)
  if config.get().cmd then
    return command
  end
  local whole = vim.list_extend(vim.deepcopy(command), model_options())
  return vim.list_extend(whole, { '--connect' })
end

-- To say what runs here, with the model that the editor uses.
function M.to_examine(command)
  local whole = vim.list_extend(vim.deepcopy(command), { 'doctor' })
  return vim.list_extend(whole, model_options())
end

return M

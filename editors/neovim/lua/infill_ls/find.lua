-- Where the server's program is, and whether it may be started. The user's own comes first: one that
-- came with the workspace is somebody else's program, and needs the user's consent.
local config = require('infill_ls.config')
local consent = require('infill_ls.consent')

local M = {}

local windows = vim.fn.has('win32') == 1
local PROGRAM = windows and 'infill-ls.exe' or 'infill-ls'

local function absolute(path)
  if windows then
    return path:match('^%a:[/\\]') ~= nil or path:match('^[/\\][/\\]') ~= nil
  end
  return vim.startswith(path, '/')
end

local function runs(program)
  return vim.fn.executable(program) == 1
end

local function in_venv(venv)
  return vim.fs.joinpath(venv, windows and 'Scripts' or 'bin', PROGRAM)
end

-- Every program of that name on PATH. A relative part of PATH means another folder wherever one
-- works, and Windows would look in the current one first: neither counts.
local function on_path(name)
  local found = {}
  for folder in vim.gsplit(vim.env.PATH or '', windows and ';' or ':', { plain = true }) do
    local program = vim.fs.joinpath(folder, name)
    if absolute(folder) and runs(program) then
      found[#found + 1] = program
    end
  end
  return found
end

local function real(path)
  local found = vim.fs.normalize(vim.uv.fs_realpath(path) or path)
  return windows and found:lower() or found
end

local function holds(folder, path)
  return path == folder or vim.startswith(path, folder:gsub('/$', '') .. '/')
end

-- Whether a program lies in the workspace, however it came to be on PATH. Whoever opens the home
-- folder, or one above it, opens what is theirs.
local function comes_with(program, root)
  if not root then
    return false
  end
  local folder = real(root)
  local home = real(vim.uv.os_homedir() or '/')
  return holds(folder, real(vim.fs.dirname(program))) and not holds(folder, home)
end

local function configured(given, root)
  local name = given[1]
  if not name:find('[/\\]') then
    local program = on_path(name)[1]
    if not program then
      return nil, ('the option cmd is %s, which is not on PATH'):format(name)
    end
    local command = vim.list_extend({ program }, given, 2)
    return command, 'the option cmd', comes_with(program, root)
  end
  local program = vim.fs.normalize(name)
  if not absolute(program) then
    return nil,
      ('the option cmd is %s, another program in every folder: make the path absolute'):format(name)
  end
  if not runs(program) then
    return nil, ('the option cmd is %s, which cannot be run'):format(name)
  end
  return vim.list_extend({ program }, given, 2), 'the option cmd', false
end

-- The command line, where it was found, and whether its program came with the workspace.
local function locate(root)
  if config.get().cmd then
    return configured(config.get().cmd, root)
  end
  local venv = vim.env.VIRTUAL_ENV
  local active = venv and venv ~= '' and in_venv(venv) or nil
  local installed = on_path(PROGRAM)
  if active and absolute(active) and runs(active) then
    table.insert(installed, 1, active)
  end
  for _, program in ipairs(installed) do
    if not comes_with(program, root) then
      return { program }, program == active and 'the active virtual environment' or 'PATH', false
    end
  end
  for _, name in ipairs({ '.venv', 'venv' }) do
    installed[#installed + 1] = root and in_venv(vim.fs.joinpath(root, name)) or nil
  end
  for _, program in ipairs(installed) do
    if runs(program) then
      return { program }, 'the workspace', true
    end
  end
  return nil,
    'infill-ls was not found: not on PATH, not in .venv or venv of the workspace. '
      .. 'Install it (pipx install infill-ls), or set the option cmd; see :help infill_ls-server'
end

-- The command line and where it was found; or nil, why not, and the program that waits for consent.
function M.server(root)
  local command, where, from_workspace = locate(root)
  if not command or not from_workspace then
    return command, where
  end
  local answer = consent.answer(command[1])
  if answer then
    return command, where
  elseif answer == false then
    return nil, ('%s came with the workspace and is refused; :Infill trust asks again'):format(command[1])
  end
  return nil,
    ('%s came with the workspace; :Infill trust asks whether to start it'):format(command[1]),
    command[1]
end

-- The program of the workspace that would be started if the user consents, whatever was said of it.
function M.workspace_program(root)
  local command, _, from_workspace = locate(root)
  return command and from_workspace and command[1] or nil
end

-- Where programs are started. Not in the workspace: `python -m` would import from it, and a model's
-- name would be looked for there as a folder.
function M.cwd()
  local home = vim.uv.os_homedir()
  return home and vim.fn.isdirectory(home) == 1 and home or '/'
end

return M

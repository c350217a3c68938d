-- DKIM signatures by the domain in From, from data files.
-- local dkim_signer = (require 'policy-extras.dkim_sign'):setup { '/etc/dkim_data.toml' }
-- kumo.on('smtp_server_message_received', function(msg) dkim_signer(msg) end) -- as the last thing of all
--
-- `domain.NAME` says how mail from that domain is signed, `base` what holds where a section is silent. Each section
-- `signature.NAME` that `base.additional_signatures` lists adds a signature by the `domain` that it names: to all mail,
-- or with the policy `OnlyIfMissingDomainBlock` to mail from domains that have no section.

local kumo = require "kumo"
local utils = require "policy-extras.policy_utils"

local mod = {}
local WHO = "policy-extras.dkim_sign"
-- KumoMTA's: where keys are that no section places elsewhere, as DOMAIN/SELECTOR.key.
local KEY_DIRECTORY = "/opt/kumomta/etc/dkim"
local ALGORITHMS = { sha256 = kumo.dkim.rsa_sha256_signer, ed25519 = kumo.dkim.ed25519_signer }
-- What sections hold that goes to a signer as it is.
local SHARED = { "body_canonicalization", "expiration", "header_canonicalization", "headers", "over_sign", "selector" }
local BASE = { "additional_signatures", "vault_mount", "vault_path_prefix", "policy", table.unpack(SHARED) }
local SECTION = { "algo", "filename", "policy", table.unpack(SHARED) }
local SIGNATURE = { "domain", table.unpack(SECTION) }
-- Looking into DNS before signing is announced in KumoMTA's documentation and does not happen there either.
local DOMAIN_POLICIES = { "Always", "SignAlways", "SignOnlyIfInDNS", "TempFailIfNotInDNS" }
local SIGNATURE_POLICIES = { "Always", "OnlyIfMissingDomainBlock" }

-- == Reading =========================================================================================

local function key_source(base, section, domain, selector)
  local path = string.format("%s/%s.key", domain, selector)
  if base.vault_mount then
    local prefix = (base.vault_path_prefix or "dkim"):gsub("/+$", "")
    return { vault_mount = base.vault_mount, vault_path = section.filename or prefix .. "/" .. path }
  end
  return section.filename or KEY_DIRECTORY .. "/" .. path
end

local function check_policy(where, policy, known)
  if policy and not utils.table_contains(known, policy) then
    error(string.format("%s: policy '%s' is none of %s", where, policy, table.concat(known, ", ")), 0)
  end
end

-- What `make` is called with for a section.
local function signer_of(where, base, section, domain)
  local params = { domain = domain }
  for _, name in ipairs(SHARED) do
    local own = section[name]
    params[name] = own == nil and base[name] or own
  end
  for _, name in ipairs { "selector", "headers" } do
    if not params[name] then
      error(string.format("%s: there must be '%s', here or in base", where, name), 0)
    end
  end
  params.key = key_source(base, section, domain, params.selector)
  local make = ALGORITHMS[section.algo or "sha256"]
  if not make then
    error(string.format("%s: algo '%s' is none of ed25519, sha256", where, section.algo), 0)
  end
  return { make = make, params = params, is_fallback = section.policy == "OnlyIfMissingDomainBlock" }
end

local function domain_signers(data, base)
  local found = {}
  for domain, section in pairs(data.domain or {}) do
    local where = string.format("%s: domain '%s'", WHO, domain)
    utils.refuse_unknown(section, SECTION, where)
    check_policy(where, section.policy, DOMAIN_POLICIES)
    found[domain:lower()] = signer_of(where, base, section, domain)
  end
  return found
end

local function additional_signers(data, base)
  local found = {}
  for index, name in ipairs(base.additional_signatures or {}) do
    local where = string.format("%s: signature '%s'", WHO, name)
    local section = (data.signature or {})[name]
    if not section or not section.domain then
      error(where .. ": there must be such a section, with a 'domain'", 0)
    end
    utils.refuse_unknown(section, SIGNATURE, where)
    check_policy(where, section.policy, SIGNATURE_POLICIES)
    found[index] = signer_of(where, base, section, section.domain)
  end
  return found
end

-- == Signing =========================================================================================

local function sign(msg, signer)
  msg:dkim_sign(signer.make(signer.params))
end

-- What `kumotwist validate` adds: signatures that nothing asks for, and keys that cannot be had. Each signs a message
-- that goes nowhere.
local function check_signers(data, of_domain, additional)
  local message = kumo.make_message("a@example.com", "b@example.com", "From: a@example.com\r\n\r\n")
  local problems = {}
  local function check(where, signer)
    local ok, problem = pcall(sign, message, signer)
    if not ok then
      -- Without the place in this file, which says nothing.
      problems[#problems + 1] = string.format("%s: %s", where, tostring(problem):gsub("^[^:]*:%d+: ", ""))
    end
  end
  for name in pairs(data.signature or {}) do
    if not utils.table_contains((data.base or {}).additional_signatures or {}, name) then
      problems[#problems + 1] = string.format("signature '%s': base.additional_signatures does not list it", name)
    end
  end
  for domain, signer in pairs(of_domain) do
    check(string.format("domain '%s'", domain), signer)
  end
  for _, signer in ipairs(additional) do
    check(string.format("additional signature of '%s'", signer.params.domain), signer)
  end
  utils.refuse_problems(problems, WHO)
end

-- A function that signs a message. `data_files` is a list of files, or the data themselves.
function mod:setup(data_files)
  local is_data = data_files.base or data_files.domain or data_files.signature
  local data = utils.load_data(is_data and { data_files } or data_files, WHO)
  utils.refuse_unknown(data, { "base", "domain", "signature" }, WHO)
  local base = data.base or {}
  utils.refuse_unknown(base, BASE, WHO .. ": base")
  local of_domain, additional = domain_signers(data, base), additional_signers(data, base)
  kumo.on("validate_config", function()
    check_signers(data, of_domain, additional)
  end)
  return function(msg)
    local from = msg:from_header()
    if not from then
      kumo.reject(552, "5.6.0 there is no From header, and no DKIM signature without one")
    end
    local own = of_domain[from.domain:lower()]
    if own then
      sign(msg, own)
    end
    for _, signer in ipairs(additional) do
      if not (own and signer.is_fallback) then
        sign(msg, signer)
      end
    end
  end
end

return mod

-- Hits of several requests, one request after the other, in one step.
--
-- KEYS: one a hit. ARGV: for each hit nine texts:
--   1 the algorithm's letter: F (fixed window), S (sliding window) or B (token bucket)
--   2 what changes: 5, 0, -3
--   3 milliseconds the key is to live
--   4 the number of the request it belongs to; hits of a request stand together
--   5 a (counted always) or w (counted only if no hit of the request is over);
--     a capital where the limit is only tried out, and stops no other
--   6 the most that is not over
--   7, 8 of a sliding window its seconds and nothing; of a bucket, tokens and the seconds they come back in
--   9 of a fixed window its field: its key is a page of many
-- Answer: for each hit how much of its limit is used, or would be; -1 where a key holds something else.
local FIELDS = 9

local counts = {}

-- Tries the hits first to last; those that wait for the others count if `waiting` does.
local function try(first, last, waiting)
  local states, order, refusals = {}, {}, {}
  for i = first, last do
    local at = (i - 1) * FIELDS
    local way, change, policy = ARGV[at + 1], tonumber(ARGV[at + 2]), ARGV[at + 5]
    local most, length, tokens = tonumber(ARGV[at + 6]), tonumber(ARGV[at + 7]), tonumber(ARGV[at + 8])
    local name = KEYS[i] .. ' ' .. ARGV[at + 9]
    local state, problem = states[name], nil
    if not state then state, problem = ways[way].load(KEYS[i], ARGV[at + 9], length) end
    if problem then
      if not strange(problem) then return nil, problem end
      counts[i] = -1
    else
      local before, after, changed = ways[way].step(state, change, tokens, length)
      local refused = change >= 0 and string.sub(ARGV[at + 2], 1, 1) ~= '-' and after > most
      if refused and policy == string.lower(policy) then refusals[name] = true end
      local counted
      if string.lower(policy) == 'w' then counted = waiting and not refused else counted = ways[way].counts_refused or not refused end
      if counted then
        if not states[name] then order[#order + 1] = {name, way, KEYS[i], ARGV[at + 9], ARGV[at + 3]} end
        states[name] = changed
      end
      counts[i] = (counted or refused) and after or before
    end
  end
  return {states = states, order = order, refusals = refusals}
end

local first = 1
while first <= #KEYS do
  local request, last, waits = ARGV[(first - 1) * FIELDS + 4], first, false
  while last < #KEYS and ARGV[last * FIELDS + 4] == request do last = last + 1 end
  for i = first, last do waits = waits or string.lower(ARGV[(i - 1) * FIELDS + 5]) == 'w' end
  local tried, problem = try(first, last, true)
  if tried and waits and next(tried.refusals) then
    local refusals, before = tried.refusals, {}
    for i = first, last do before[i] = counts[i] end
    tried, problem = try(first, last, false)
    -- What was over stays over: hits on one key may be over only together, and then none is counted.
    for i = first, last do if refusals[KEYS[i] .. ' ' .. ARGV[i * FIELDS]] then counts[i] = before[i] end end
  end
  if not tried then return problem end
  for _, entry in ipairs(tried.order) do
    ways[entry[2]].keep(entry[3], entry[4], tried.states[entry[1]], entry[5])
  end
  first = last + 1
end
return counts

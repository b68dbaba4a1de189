-- Hits of several requests, one request after the other, in one step.
--
-- KEYS: one a hit. ARGV: for each hit nine texts:
--   1 f (fixed window), s (sliding window) or b (token bucket)
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
local clock = redis.call('TIME')
local seconds, micros = tonumber(clock[1]), tonumber(clock[2])
local now = seconds * 1000 + math.floor(micros / 1000)

-- What a key holds, in the terms of its kind.
local function load(kind, key, field, length)
  if kind == 'f' then
    local held = redis.pcall('HGET', key, field)
    if type(held) == 'table' and held.err then return nil, held end
    local count = tonumber(held or '0')
    if not count then return nil, {err = 'not an integer'} end
    return {count = count, new = not held}
  end
  local held = redis.pcall('HMGET', key, 'a', 'b', 'c')
  if held.err then return nil, held end
  local a, b, c = tonumber(held[1]), tonumber(held[2]), tonumber(held[3])
  if kind == 's' then
    local start = seconds - seconds % length
    if not a or start > a + length then return {start = start, this = 0, last = 0} end
    if start == a + length then return {start = start, this = 0, last = b} end
    return {start = a, this = b, last = c}
  end
  return {at = a or now, used = b or 0}
end

-- How much is used before and after the change, and what the key then holds.
local function step(kind, state, change, tokens, length)
  if kind == 'f' then
    local after = math.max(0, state.count + change)
    return state.count, after, {count = after, new = state.new, delta = (state.delta or 0) + after - state.count}
  elseif kind == 's' then
    local millis = length * 1000
    local left = millis - math.min(millis, math.max(0, now - state.start * 1000))
    local faded = math.ceil(state.last * left / millis)
    local this = math.max(0, state.this + change)
    return faded + state.this, faded + this, {start = state.start, this = this, last = state.last}
  end
  local passed = math.max(0, now - state.at)
  local used = math.max(0, state.used - passed * tokens / (length * 1000))
  local after = math.max(0, used + change)
  local whole = function(n) return math.max(0, math.ceil(n - 1e-9)) end
  return whole(used), whole(after), {at = math.max(state.at, now), used = after}
end

local function keep(kind, key, field, state, ttl)
  if kind == 'f' then
    if state.delta ~= 0 then
      redis.call('HINCRBY', key, field, string.format('%.0f', state.delta))
      if state.new then grown(key, 1, ttl) end
    end
  elseif kind == 's' then
    redis.call('HSET', key, 'a', state.start, 'b', state.this, 'c', state.last)
    redis.call('PEXPIRE', key, ttl)
  else
    redis.call('HSET', key, 'a', string.format('%.0f', state.at), 'b', string.format('%.17g', state.used))
    redis.call('PEXPIRE', key, ttl)
  end
end

local counts = {}

-- Tries the hits first to last; those that wait for the others count if `waiting` does.
local function try(first, last, waiting)
  local states, order, refusals = {}, {}, {}
  for i = first, last do
    local at = (i - 1) * FIELDS
    local kind, change, policy = ARGV[at + 1], tonumber(ARGV[at + 2]), ARGV[at + 5]
    local most, length, tokens = tonumber(ARGV[at + 6]), tonumber(ARGV[at + 7]), tonumber(ARGV[at + 8])
    local name = KEYS[i] .. ' ' .. ARGV[at + 9]
    local state, problem = states[name], nil
    if not state then state, problem = load(kind, KEYS[i], ARGV[at + 9], length) end
    if problem then
      if not strange(problem) then return nil, problem end
      counts[i] = -1
    else
      local before, after, changed = step(kind, state, change, tokens, length)
      local refused = change >= 0 and string.sub(ARGV[at + 2], 1, 1) ~= '-' and after > most
      if refused and policy == string.lower(policy) then refusals[name] = true end
      local counted
      if string.lower(policy) == 'w' then counted = waiting and not refused else counted = kind == 'f' or not refused end
      if counted then
        if not states[name] then order[#order + 1] = {name, kind, KEYS[i], ARGV[at + 9], ARGV[at + 3]} end
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
    keep(entry[2], entry[3], entry[4], tried.states[entry[1]], entry[5])
  end
  first = last + 1
end
return counts

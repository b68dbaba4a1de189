-- The algorithms, by the letters that ratelimit-limit gives them; the file of each puts itself in.
-- load(key, field, length): what a counter holds; nothing and an error where a key holds something else.
-- step(state, change, tokens, length): how much is used before and after, and what the counter then holds.
-- keep(key, field, state, ttl): writes that. counts_refused: whether what is refused is counted all the same.
local ways = {}
local clock = redis.call('TIME')
local seconds, micros = tonumber(clock[1]), tonumber(clock[2])
local now = seconds * 1000 + math.floor(micros / 1000)

-- The three numbers of a key that is not a page.
local function three(key)
  local held = redis.pcall('HMGET', key, 'a', 'b', 'c')
  if held.err then return nil, nil, nil, held end
  return tonumber(held[1]), tonumber(held[2]), tonumber(held[3])
end


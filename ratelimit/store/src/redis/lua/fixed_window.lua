-- Counts start over at every multiple of the window's length: a number in a page of many.
ways.F = {
  load = function(key, field)
    local held = redis.pcall('HGET', key, field)
    if type(held) == 'table' and held.err then return nil, held end
    local count = tonumber(held or '0')
    if not count then return nil, {err = 'not an integer'} end
    return {count = count, new = not held}
  end,
  step = function(state, change)
    local after = math.max(0, state.count + change)
    return state.count, after, {count = after, new = state.new, delta = (state.delta or 0) + after - state.count}
  end,
  keep = function(key, field, state, ttl)
    if state.delta ~= 0 then
      redis.call('HINCRBY', key, field, string.format('%.0f', state.delta))
      if state.new then grown(key, 1, ttl) end
    end
  end,
  counts_refused = true,
}

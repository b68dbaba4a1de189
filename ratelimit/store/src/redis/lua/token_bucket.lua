-- Tokens come back one by one, up to a burst: a key with a moment, and how many tokens were gone then.
ways.B = {
  load = function(key)
    local at, used, _, problem = three(key)
    if problem then return nil, problem end
    return {at = at or now, used = used or 0}
  end,
  step = function(state, change, tokens, length)
    local passed = math.max(0, now - state.at)
    local used = math.max(0, state.used - passed * tokens / (length * 1000))
    local after = math.max(0, used + change)
    local whole = function(n) return math.max(0, math.ceil(n - 1e-9)) end
    return whole(used), whole(after), {at = math.max(state.at, now), used = after}
  end,
  keep = function(key, field, state, ttl)
    redis.call('HSET', key, 'a', string.format('%.0f', state.at), 'b', string.format('%.17g', state.used))
    redis.call('PEXPIRE', key, ttl)
  end,
}

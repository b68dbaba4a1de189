-- The count of the window before fades out evenly: a key with the window's start, its count, and that of the one before.
ways.S = {
  load = function(key, field, length)
    local start, this, last, problem = three(key)
    if problem then return nil, problem end
    local current = seconds - seconds % length
    if not start or current > start + length then return {start = current, this = 0, last = 0} end
    if current == start + length then return {start = current, this = 0, last = this} end
    return {start = start, this = this, last = last}
  end,
  step = function(state, change, tokens, length)
    local millis = length * 1000
    local left = millis - math.min(millis, math.max(0, now - state.start * 1000))
    local faded = math.ceil(state.last * left / millis)
    local this = math.max(0, state.this + change)
    return faded + state.this, faded + this, {start = state.start, this = this, last = state.last}
  end,
  keep = function(key, field, state, ttl)
    redis.call('HSET', key, 'a', state.start, 'b', state.this, 'c', state.last)
    redis.call('PEXPIRE', key, ttl)
  end,
}

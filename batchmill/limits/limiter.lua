-- What `state.py`, `window.py` and `admission.py` do, for all processes at once: the same names, the same numbers.
-- Dimensions count from 1 here: requests, tokens, input tokens, output tokens, concurrency.
-- KEYS: for each bucket its state and the leases of its slots. ARGV[1]: JSON, as `valkey.py` writes it.

local MINUTE_US, GUARD_US, SLOT_US, EXACT = 60000000, 50000, 500000, 256
local SPAN_US = MINUTE_US + GUARD_US
local HORIZON_US, CREDIT_US, TURN_US, RECOVERY_US = 1000000, 2000000, 500000, 5000000
local SLOTS_HELD_US, CLOSED_US, LEASE_US, SLOT_POLL_US = 2000000, 1000000, 15000000, 100000
local FULL, LEAST, RECOVERED, REQUEST_PACE, SPREAD, MOST_GAPS = 100, 5, 5, 98, 120, 8
local KEPT_MS = 86400000
local REQUESTS, CONCURRENCY, TOLD = 1, 5, 6

local wanted = cjson.decode(ARGV[1])
local now = wanted.now
if now == 0 then
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
end

local max, min, floor = math.max, math.min, math.floor

local function div(numerator, denominator)
  return (numerator - numerator % denominator) / denominator
end

local function ceil_div(numerator, denominator)
  local rest = numerator % denominator
  return (numerator - rest) / denominator + (rest > 0 and 1 or 0)
end

-- The first place whose moment is not before one.
local function place_of(at, moment)
  local low, high = 1, #at + 1
  while low < high do
    local middle = floor((low + high) / 2)
    if at[middle] < moment then low = middle + 1 else high = middle end
  end
  return low
end

local function new_window(s)
  s.at, s.costs, s.used = {}, {{}, {}, {}, {}}, {0, 0, 0, 0}
end

local function drop(s)
  local gone = place_of(s.at, now - SPAN_US + 1) - 1
  if gone == 0 then return end
  local size = #s.at
  for d = 1, 4 do
    local costs = s.costs[d]
    for i = 1, gone do s.used[d] = s.used[d] - costs[i] end
    for i = 1, size do costs[i] = costs[i + gone] end
  end
  for i = 1, size do s.at[i] = s.at[i + gone] end
end

local function enter(s, at, costs)
  local place, size = place_of(s.at, at), #s.at
  if place > size then
    if size >= EXACT and div(s.at[size], SLOT_US) == div(at, SLOT_US) then
      place = size
    else
      place = size + 1
      for d = 1, 4 do s.costs[d][place] = 0 end
    end
    s.at[place] = at
  end
  for d = 1, 4 do
    s.costs[d][place] = s.costs[d][place] + costs[d]
    s.used[d] = s.used[d] + costs[d]
  end
end

local function used_at(s, d, at)
  local used = s.used[d]
  for i = 1, place_of(s.at, at - SPAN_US + 1) - 1 do used = used - s.costs[d][i] end
  return used
end

local function left_us(s, d, surplus)
  for i = 1, #s.at do
    surplus = surplus - s.costs[d][i]
    if surplus <= 0 then return s.at[i] + SPAN_US end
  end
  return now
end

local function most_of(limit)
  return max(1, limit - div(limit, 100))
end

local function interval_us(d, limit, cost, rate)
  if d == REQUESTS then return ceil_div(MINUTE_US * FULL * FULL, REQUEST_PACE * limit * rate) end
  return ceil_div(cost * MINUTE_US * FULL, limit * rate)
end

local function rate_at(s)
  if s.rate == FULL then return FULL end
  return min(FULL, s.rate + RECOVERED * div(max(0, now - s.halved), RECOVERY_US))
end

local function begin(s, limits, largest, seen)
  local behind, last = HORIZON_US, nil
  if seen then
    for d = 2, 4 do
      if limits[d] > 0 then last = max(last or 0, interval_us(d, limits[d], largest[d], FULL)) end
    end
    if last then behind = behind + CREDIT_US + last end
  end
  s.born, s.slots_from = now, seen and now + SLOTS_HELD_US or now
  new_window(s)
  local ends, mosts, any = now + min(behind, MINUTE_US), {}, false
  for d = 1, 4 do
    mosts[d] = limits[d] > 0 and most_of(limits[d]) or 0
    any = any or mosts[d] > 0
  end
  if any then
    for part = 0, SPREAD - 1 do
      local costs = {}
      for d = 1, 4 do costs[d] = div(mosts[d] * (part + 1), SPREAD) - div(mosts[d] * part, SPREAD) end
      enter(s, ends - MINUTE_US + div((2 * part + 1) * MINUTE_US, 2 * SPREAD), costs)
    end
  end
  drop(s)
  s.next = {ends, ends, ends, ends}
  if limits[REQUESTS] > 0 then
    s.next[REQUESTS] = ends + interval_us(REQUESTS, limits[REQUESTS], 1, FULL)
  end
  s.gaps, s.head = {}, {}
end

local function new_state(limits, largest, seen)
  local s = {closed = 0, rate = FULL, halved = 0, learned = {0, 0, 0, 0, 0}}
  s.others = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
  begin(s, limits, largest, seen)
  return s
end

local function load(raw)
  local v = cmsgpack.unpack(raw)
  return {
    born = v[1], slots_from = v[2], closed = v[3], rate = v[4], halved = v[5], at = v[6], costs = v[7],
    used = v[8], learned = v[9], next = v[10], gaps = v[11], head = v[12], others = v[13],
  }
end

local function save(s)
  return cmsgpack.pack({
    s.born, s.slots_from, s.closed, s.rate, s.halved, s.at, s.costs,
    s.used, s.learned, s.next, s.gaps, s.head, s.others,
  })
end

local function limits_of(s, explicit)
  local limits = {}
  for d = 1, 5 do limits[d] = explicit[d] > 0 and explicit[d] or s.learned[d] end
  return limits
end

local function has_rate(limits)
  return limits[1] > 0 or limits[2] > 0 or limits[3] > 0 or limits[4] > 0
end

local function learn(s, d, limit, explicit)
  local before = limits_of(s, explicit)
  s.learned[d] = limit
  local was_counted = has_rate(before) and s.born + SPAN_US <= now
  if before[d] == 0 and d ~= CONCURRENCY and not was_counted then
    begin(s, limits_of(s, explicit), {0, 0, 0, 0}, false)
  end
end

local function catch_up(s)
  drop(s)
  if s.rate < FULL and rate_at(s) >= FULL then s.rate = FULL end
  if s.head[1] and s.head[3] + TURN_US <= now then s.head = {} end
  local kept = {}
  for i = 1, #s.gaps, 2 do
    if s.gaps[i + 1] > now then
      kept[#kept + 1] = s.gaps[i]
      kept[#kept + 1] = s.gaps[i + 1]
    end
  end
  s.gaps = kept
end

local function others_at(s, d, at)
  return s.others[3 * d] > at and s.others[3 * d - 2] or 0
end

local function place_us(s, from, interval)
  for i = 1, #s.gaps, 2 do
    local at = max(from, s.gaps[i])
    if at + interval <= s.gaps[i + 1] then return at end
  end
  return max(from, s.next[REQUESTS])
end

local function keep_gaps(s, gaps, interval)
  local kept = {}
  for i = 1, #gaps, 2 do
    if gaps[i] + interval <= gaps[i + 1] then
      kept[#kept + 1] = gaps[i]
      kept[#kept + 1] = gaps[i + 1]
    end
  end
  while #kept > 2 * MOST_GAPS do
    table.remove(kept, 1)
    table.remove(kept, 1)
  end
  s.gaps = kept
end

local function take_place(s, at, interval)
  local gaps = {}
  if at >= s.next[REQUESTS] then
    for i = 1, #s.gaps do gaps[i] = s.gaps[i] end
    gaps[#gaps + 1] = max(now, s.next[REQUESTS])
    gaps[#gaps + 1] = at
    s.next[REQUESTS] = at + interval
  else
    for i = 1, #s.gaps, 2 do
      local first, last = s.gaps[i], s.gaps[i + 1]
      gaps[#gaps + 1] = first
      if first <= at and at < last then
        gaps[#gaps + 1] = at
        gaps[#gaps + 1] = at + interval
      end
      gaps[#gaps + 1] = last
    end
  end
  keep_gaps(s, gaps, interval)
end

local function delays_head(s, at, costs, limits, rate)
  local d, head_cost, head_at = s.head[1], s.head[2], s.head[3]
  if not d or limits[d] == 0 or costs[d] >= head_cost then return false end
  local used = used_at(s, d, head_at) + others_at(s, d, head_at)
  if used + head_cost + costs[d] > max(most_of(limits[d]), head_cost) then return true end
  local paced = max(s.next[d], at - CREDIT_US) + interval_us(d, limits[d], costs[d], rate)
  if paced - CREDIT_US > head_at then return true end
  if limits[REQUESTS] == 0 then return false end
  return max(at, s.next[REQUESTS]) + interval_us(REQUESTS, limits[REQUESTS], 1, rate) > head_at
end

local function room_us(s, d, cost, limit, waits)
  local used, others, kept_until = s.used[d], others_at(s, d, now), 0
  if others > 0 then kept_until = s.others[3 * d] end
  if waits and s.head[1] == d then
    others, kept_until = others + s.head[2], max(kept_until, s.head[3] + TURN_US)
  end
  local surplus = used + cost - max(most_of(limit), cost)
  if surplus + others <= 0 then return now end
  local without = surplus > 0 and left_us(s, d, surplus) or now
  if others == 0 then return without end
  local later = max(kept_until, without)
  if surplus + others > used then return later end
  return min(later, left_us(s, d, surplus + others))
end

-- The first moment, the dimension whose window it waits for, if it is that, and the one it waits for at all.
local function turn_of(s, from, costs, limits)
  local rate, full, at, by = rate_at(s), nil, from, 0
  local function later(moment, d)
    if moment > at then at, by = moment, d end
  end
  later(s.closed, TOLD)
  if limits[REQUESTS] > 0 then
    later(place_us(s, at, interval_us(REQUESTS, limits[REQUESTS], 1, rate)), REQUESTS)
  end
  for d = 2, 4 do
    if limits[d] > 0 and costs[d] > 0 then later(s.next[d] - CREDIT_US, d) end
  end
  local waits = delays_head(s, at, costs, limits, rate)
  if waits then
    local d = s.head[1]
    later(s.head[3] + interval_us(d, limits[d], s.head[2], rate), d)
  end
  for d = 1, 4 do
    if limits[d] > 0 and costs[d] > 0 then
      local room = room_us(s, d, costs[d], limits[d], waits)
      if room > at then
        later(room, d)
        full = d
      end
    end
  end
  return at, full, by
end

local function take(s, at, costs, limits)
  local rate = rate_at(s)
  enter(s, at, costs)
  if limits[REQUESTS] > 0 then
    take_place(s, at, interval_us(REQUESTS, limits[REQUESTS], 1, rate))
  end
  for d = 2, 4 do
    if limits[d] > 0 then
      s.next[d] = max(s.next[d], at - CREDIT_US) + interval_us(d, limits[d], costs[d], rate)
    end
  end
  if s.head[1] and costs[s.head[1]] >= s.head[2] then s.head = {} end
end

local function stand_in_line(s, at, full, costs)
  if not full or full == REQUESTS then return end
  if not s.head[1] or (s.head[1] == full and s.head[2] == costs[full]) then
    s.head = {full, costs[full], at}
  end
end

local function after_us(s, at, costs, limits)
  local rate, longest = rate_at(s), 0
  for d = 1, 4 do
    if limits[d] > 0 then longest = max(longest, interval_us(d, limits[d], costs[d], rate)) end
  end
  return at + longest
end

local function correct(s, start, more, limits)
  local changes = {}
  for d = 1, 4 do changes[d] = start < s.born and max(0, more[d]) or more[d] end
  local place = place_of(s.at, start)
  if place <= #s.at then
    for d = 1, 4 do
      local change = max(-s.costs[d][place], changes[d])
      s.costs[d][place] = s.costs[d][place] + change
      s.used[d] = s.used[d] + change
    end
  end
  for d = 2, 4 do
    if limits[d] > 0 and changes[d] ~= 0 then
      s.next[d] = s.next[d] + interval_us(d, limits[d], changes[d], FULL)
    end
  end
end

local function throttle(s, sent, retry)
  if retry < 0 then retry = div(CLOSED_US * FULL, rate_at(s)) end
  s.closed = max(s.closed, now + retry)
  if now >= s.halved + 1000000 and sent >= s.halved then
    s.rate, s.halved = max(LEAST, div(rate_at(s), 2)), now
  end
end

local function note_others(s, d, limit, beyond, start, until_us)
  if start >= s.others[3 * d - 1] then
    s.others[3 * d - 2] = max(0, beyond - div(limit, 100))
    s.others[3 * d - 1] = start
    s.others[3 * d] = until_us
  end
end

-- Buckets in play

local buckets = {}

local function refresh(b)
  b.limits = b.state and limits_of(b.state, b.explicit) or nil
  if b.state and b.limits[CONCURRENCY] > 0 and not b.slots then
    redis.call('ZREMRANGEBYSCORE', b.leases, '-inf', now)
    b.slots = redis.call('ZCARD', b.leases)
  end
end

for i, given in ipairs(wanted.buckets) do
  local b = {key = KEYS[2 * i - 1], leases = KEYS[2 * i], explicit = given[1], line = 0}
  local hints, largest, seen = given[2], given[3], given[4] == 1
  local first, any = {}, false
  for d = 1, 5 do
    first[d] = b.explicit[d] > 0 and b.explicit[d] or hints[d]
    any = any or first[d] > 0
  end
  local raw = redis.call('GET', b.key)
  if raw then
    b.state = load(raw)
    catch_up(b.state)
    if b.state.born < wanted.lost then begin(b.state, limits_of(b.state, b.explicit), largest, true) end
    for d = 1, 5 do
      if b.state.learned[d] == 0 and hints[d] > 0 then learn(b.state, d, hints[d], b.explicit) end
    end
  elseif any then
    b.state = new_state(first, largest, seen)
    b.state.learned = hints
  end
  refresh(b)
  buckets[i] = b
end

local function told(b)
  if not b.state then b.state = new_state(b.explicit, {0, 0, 0, 0}, false) end
  return b.state
end

-- Calls that ended

for _, c in ipairs(wanted.closings) do
  local permit, start, places, more, throttled, retry, reports = unpack(c)
  if start == 0 then start = now end
  for _, i in ipairs(places) do
    local b = buckets[i]
    if b.slots and redis.call('ZREM', b.leases, permit) == 1 then b.slots = b.slots - 1 end
    if b.state then correct(b.state, start, more, b.limits) end
  end
  if throttled > 0 then throttle(told(buckets[throttled]), start, retry) end
  for _, report in ipairs(reports) do
    local i, d, limit, beyond, until_us = unpack(report)
    learn(told(buckets[i]), d, limit, buckets[i].explicit)
    if beyond ~= cjson.null then note_others(buckets[i].state, d, limit, beyond, start, until_us) end
    refresh(buckets[i])
  end
  if throttled > 0 then refresh(buckets[throttled]) end
end

for _, renewal in ipairs(wanted.renewals) do
  local b = buckets[renewal[1]]
  if b.slots then
    for _, permit in ipairs(renewal[2]) do
      b.slots = b.slots + redis.call('ZADD', b.leases, now + LEASE_US, permit)
    end
  end
end

-- Calls that want to leave

local answers = {}

local function say(...)
  for _, value in ipairs({...}) do answers[#answers + 1] = value end
end

local function find_turn(play, costs)
  local at, full, last, by = now, nil, nil, 0
  for _, b in ipairs(play) do
    if b.limits[CONCURRENCY] > 0 and b.state.slots_from > at then
      at, last, by = b.state.slots_from, b, CONCURRENCY
    end
  end
  local settled = 0
  while settled < #play do
    settled = 0
    for _, b in ipairs(play) do
      local found, found_full, found_by = turn_of(b.state, at, costs, b.limits)
      if found > at then
        at, full, last, by = found, found_full, b, found_by
      else
        settled = settled + 1
      end
    end
  end
  return at, full, last, by
end

local function refuse(b, at, full, costs)
  if not b then return at end
  stand_in_line(b.state, at, full, costs)
  at = max(at, b.line)
  b.line = after_us(b.state, at, costs, b.limits)
  return at
end

local function answer(permit, places, costs)
  local play = {}
  for _, i in ipairs(places) do
    if buckets[i].state then play[#play + 1] = buckets[i] end
  end
  for _, b in ipairs(play) do
    for d = 1, 4 do
      if b.limits[d] > 0 and costs[d] > b.limits[d] then return say(-1, 0, 0) end
    end
  end
  for _, b in ipairs(play) do
    if b.slots and b.slots >= b.limits[CONCURRENCY] and not redis.call('ZSCORE', b.leases, permit) then
      return say(0, SLOT_POLL_US, CONCURRENCY)
    end
  end
  local at, full, last, by = find_turn(play, costs)
  if at > now + HORIZON_US then return say(0, refuse(last, at, full, costs) - HORIZON_US - now, by) end
  say(1, at - now, by)
  for _, b in ipairs(play) do
    take(b.state, at, costs, b.limits)
    if b.slots then b.slots = b.slots + redis.call('ZADD', b.leases, at + LEASE_US, permit) end
  end
  for _, i in ipairs(places) do
    local b = buckets[i]
    if b.state and has_rate(b.limits) then say(unpack(b.state.used)) else say(-1, -1, -1, -1) end
  end
end

for _, ask in ipairs(wanted.asks) do
  answer(ask[1], ask[2], {1, ask[3], ask[4], ask[5]})
end

local known = {}
for i, b in ipairs(buckets) do
  local s = b.state
  local watched = 0
  if s then
    redis.call('SET', b.key, save(s), 'PX', KEPT_MS)
    if b.slots and b.slots > 0 then redis.call('PEXPIRE', b.leases, KEPT_MS) end
    if s.closed > now or s.rate < FULL then watched = 1 end
    for d = 1, 5 do
      if b.limits[d] > 0 then watched = 1 end
    end
    known[i] = {watched, unpack(s.learned)}
  else
    known[i] = {0, 0, 0, 0, 0, 0}
  end
end
return {now, known, answers}

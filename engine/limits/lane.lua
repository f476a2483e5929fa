-- A lane: one rate limit, as a train of slots at least `step` apart. All times are µs relative to `now`.
-- Stored: {run id, step, last slot, closed until, wide until, close, 0, hole, hole, ...}; a hole [a, b] is a stretch behind
-- `last` in which any slot is free. Until `closed` the carrier wants nothing. A step of 0 is a gate: no rate, it only may
-- be closed.
-- A wide slot may be used WIDE late and not only LATE. So that no second holds too many, steps are wider by as much, and
-- stay so for everybody until a second has passed in which none can be used any more. Up to `close` slots may lie closer
-- than that, as they did before: a wide slot lies in no hole between them.
-- Loading never trusts what it cannot date: no value, another server's value or a last slot beyond the horizon (the clock
-- stepped back) may hide slots that are still to be used, the last of them, if wide, at now + horizon + WIDE. The train
-- then begins behind those: never a burst, at the price of a wait.

local MOST_HOLES = 64
local KEEP_MS = 86400000
local MOST_CLOSED = 3600000000
local LATE, WIDE, SECOND = 15000, 200000, 1000000
local WIDER = (SECOND + WIDE) / (SECOND + LATE)

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local run_id = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')

local function load_lane(key, step, earliest, horizon, is_wide)
  local lane = {key = key, step = step, last = horizon + WIDE, closed = 0, wide = 0, holes = {}, is_wide = is_wide}
  lane.close = lane.last
  if is_wide then lane.step = step * WIDER end
  local stored = redis.call('GET', key)
  if not stored then return lane end
  local value = cmsgpack.unpack(stored)
  local last = value[3] - now
  if value[1] ~= run_id then return lane end
  lane.closed = math.min(math.max(0, value[4] - now), MOST_CLOSED)
  if last > horizon + WIDE then return lane end
  lane.last, lane.close, lane.wide = last, last, math.max(0, value[5] - now)
  if lane.wide > 0 then lane.step = step * WIDER end
  if value[2] == lane.step then -- holes were measured with the step of their time
    local first = 6
    if value[7] == 0 then lane.close, first = value[6] - now, 8 end -- versions before this one have none, and skip it
    for i = first, #value, 2 do
      local a, b = value[i] - now, value[i + 1] - now
      if b >= earliest then lane.holes[#lane.holes + 1] = {a, b} end
    end
  end
  return lane
end

local function save_lane(lane)
  local value = {run_id, lane.step, lane.last + now, lane.closed + now, lane.wide + now, lane.close + now, 0}
  for i = math.max(1, #lane.holes - MOST_HOLES + 1), #lane.holes do
    value[#value + 1] = lane.holes[i][1] + now
    value[#value + 1] = lane.holes[i][2] + now
  end
  redis.call('SET', lane.key, cmsgpack.pack(value), 'PX', string.format('%.0f', KEEP_MS + lane.step / 1000))
end

-- The earliest free time of the lane at or after `t`.
local function fit(lane, t)
  for _, hole in ipairs(lane.holes) do
    if hole[2] >= t and not (lane.is_wide and hole[1] <= lane.close) then return math.max(hole[1], t) end
  end
  return math.max(lane.last + lane.step, t)
end

-- Takes the free time `t`; what it leaves free behind or around it becomes holes.
local function take(lane, t, earliest)
  if lane.is_wide then lane.wide = math.max(lane.wide, t + WIDE + SECOND) end
  if t > lane.last then
    local a, b = math.max(lane.last + lane.step, earliest), t - lane.step
    if b >= a then table.insert(lane.holes, {a, b}) end
    lane.last = t
    return
  end
  for i, hole in ipairs(lane.holes) do
    if t >= hole[1] and t <= hole[2] then
      table.remove(lane.holes, i)
      if hole[2] >= t + lane.step then table.insert(lane.holes, i, {t + lane.step, hole[2]}) end
      if hole[1] <= t - lane.step then table.insert(lane.holes, i, {hole[1], t - lane.step}) end
      return
    end
  end
end

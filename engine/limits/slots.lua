-- Send slots for a batch. Follows lane.lua.
-- KEYS: the lanes. ARGV: lead µs, horizon µs, whether wide (1 or 0), each lane's step µs, then per group: wanted,
-- lanes n, n lane numbers.
-- Reply: {now µs, per group {the slots granted, µs from now ..., then minus the first time refused, or 0}}.

local lead, horizon, is_wide = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3] == '1'
local lanes = {}
for i, key in ipairs(KEYS) do
  lanes[i] = load_lane(key, tonumber(ARGV[3 + i]), lead, horizon, is_wide)
end

local groups, active = {}, {}
local at = 4 + #KEYS
while at <= #ARGV do
  local group = {wanted = tonumber(ARGV[at]), from = lead, lanes = {}, slots = {}}
  local count = tonumber(ARGV[at + 1])
  for i = 1, count do
    local lane = lanes[tonumber(ARGV[at + 1 + i])]
    group.from = math.max(group.from, lane.closed)
    if lane.step > 0 then group.lanes[#group.lanes + 1] = lane end
  end
  at = at + 2 + count
  groups[#groups + 1] = group
  active[#active + 1] = group
end

local function first_free(group)
  local t, moved = group.from, true
  while moved do
    moved = false
    for _, lane in ipairs(group.lanes) do
      local free = fit(lane, t)
      if free > t then t, moved = free, true end
    end
    if #group.lanes == 1 then return t end
  end
  return t
end

-- One slot per group and turn: a group that wants many does not push a lane that others share ahead of their needs.
while #active > 0 do
  local rest = {}
  for _, group in ipairs(active) do
    local t = first_free(group)
    if t > horizon then
      group.slots[#group.slots + 1] = -math.ceil(t)
    else
      for _, lane in ipairs(group.lanes) do take(lane, t, lead) end
      group.slots[#group.slots + 1] = math.ceil(t)
      group.wanted = group.wanted - 1
      if group.wanted > 0 then rest[#rest + 1] = group else group.slots[#group.slots + 1] = 0 end
    end
  end
  active = rest
end

for _, lane in ipairs(lanes) do
  if lane.step > 0 then save_lane(lane) end
end
local reply = {now}
for _, group in ipairs(groups) do reply[#reply + 1] = group.slots end
return reply

-- Slots that will not be used: free again, and handed out first. Follows lane.lua.
-- KEYS: the lanes. ARGV: horizon µs, each lane's step µs, then the slots (µs of this server's clock), ascending.

local horizon = tonumber(ARGV[1])
for i, key in ipairs(KEYS) do
  if redis.call('EXISTS', key) == 1 then
    local lane = load_lane(key, tonumber(ARGV[1 + i]), 0, horizon)
    for j = 2 + #KEYS, #ARGV do
      local t, at = tonumber(ARGV[j]) - now, 1
      while lane.holes[at] and lane.holes[at][1] < t do at = at + 1 end
      local before, after = lane.holes[at - 1], lane.holes[at]
      local is_free = (before and before[2] >= t) or (after and after[1] == t)
      if t > 0 and t <= lane.last and not is_free then table.insert(lane.holes, at, {t, t}) end
    end
    save_lane(lane)
  end
end

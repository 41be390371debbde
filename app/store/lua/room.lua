-- The prelude of a script that takes room: refuses it while the store has none (`maxmemory` under `noeviction`).
-- Redis refuses only a script's first write, and lets every later one through rather than stop half-way. So the first
-- one is a write that takes room and changes nothing; a script that began with EXPIRE or DEL would never be refused.
--
-- KEYS[7] a string, or a key that isn't there

redis.call('SETRANGE', KEYS[7], 0, '')

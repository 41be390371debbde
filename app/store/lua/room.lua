-- The prelude of a script that needs memory. It refuses the script if the store is full (`maxmemory` with
-- `noeviction`).
-- Redis refuses only a script's first write. It allows every later write, so that no script stops half-way. So the
-- first write here is one that needs memory and changes nothing. A script that began with EXPIRE or DEL would never be
-- refused.
--
-- KEYS[7] a string, or a key that does not exist

redis.call('SETRANGE', KEYS[7], 0, '')

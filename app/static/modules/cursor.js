// Cursors: a place in each of several logs, as the server writes them.

/** The offsets of a cursor by epoch. @param {string} cursor */
function offsetsOf(cursor) {
  const pairs = cursor.split("-").map((pair) => pair.split("."));
  return new Map(pairs.map(([epoch, offset]) => [epoch, Number(offset)]));
}

/**
 * Whether a client at `place` has everything before `other`. A client without a place starts now, so it misses nothing.
 * @param {string} place @param {string} other
 */
export function reaches(place, other) {
  if (place === other || place === "") return true;
  const offsets = offsetsOf(place);
  return Boolean(other) && [...offsetsOf(other)].every(([epoch, offset]) => (offsets.get(epoch) ?? -1) >= offset);
}

/** The place `other`, moved ahead in each log where `place` is ahead of it. @param {string} place @param {string} other */
export function further(place, other) {
  if (place === other || place === "" || other === "") return other || place;
  const offsets = offsetsOf(place);
  return [...offsetsOf(other)].map(([epoch, offset]) => `${epoch}.${Math.max(offset, offsets.get(epoch) ?? 0)}`).join("-");
}

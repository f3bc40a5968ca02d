/** Which fold a question belongs to: all rows of a question to the same, whatever their order. */
export function foldOf(group, seed, count) {
  let hash = Math.imul(seed, 0x9e3779b1) >>> 0;
  for (let at = 0; at < group.length; at += 1) hash = Math.imul(hash ^ group.charCodeAt(at), 16_777_619) >>> 0;
  return ((hash ^ (hash >>> 15)) >>> 0) % count;
}

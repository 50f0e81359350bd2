/**
 * FNV-1a, 32 bits, followed by murmur3's final mix so that near-equal ids start far apart.
 * Not for anything an attacker gains from guessing.
 */
export function hash32(text: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) {
    hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  }
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}

/** `length` base-36 characters (at most 12) that depend on all of the text. */
export function hashName(text: string, length: number): string {
  const high = hash32(text).toString(36).padStart(7, '0');
  const low = hash32(`${text}#`).toString(36).padStart(7, '0');
  // The first digit of seven is nearly always 0 or 1; it carries no weight.
  return (high.slice(1) + low.slice(1)).slice(0, length);
}

/** Unlock keys, in SwarmKit's form: `SWMKEY-1-` and 32 bytes in base64 without padding. */
import { EnxameError } from '#libs/model';

const prefix = 'SWMKEY-1-';
const keyBytes = 32;

/** From 32 random bytes. */
export function makeUnlockKey(random: Uint8Array): string {
  if (random.length < keyBytes) throw new Error('an unlock key needs 32 random bytes');
  return prefix + Buffer.from(random.subarray(0, keyBytes)).toString('base64').replace(/=+$/, '');
}

/** `invalid-argument` says what is wrong and never repeats the key. */
export function parseUnlockKey(text: string): Buffer {
  const trimmed = text.trim();
  const bytes = Buffer.from(trimmed.slice(prefix.length), 'base64');
  if (!trimmed.startsWith(prefix)) throw refused(`it must begin with ${prefix}`);
  if (!/^[A-Za-z0-9+/]{43}$/.test(trimmed.slice(prefix.length))) {
    throw refused(`43 characters of base64 must follow ${prefix}`);
  }
  return bytes;
}

function refused(rule: string): EnxameError {
  return new EnxameError('invalid-argument', `invalid unlock key: ${rule}`);
}

/** Sizes as Docker's options have them. */
import { EnxameError } from '#libs/model';

/** `64m` in bytes. */
export function sizeOf(text: string, what: string): number {
  const match = /^(\d{1,15}(?:\.\d{1,6})?) ?([bkmgtp]?)(?:i?b)?$/i.exec(text.trim());
  if (match === null) throw new EnxameError('invalid-argument', `invalid size: '${what}'`);
  const factor = 1024 ** Math.max(0, 'bkmgtp'.indexOf((match[2] ?? '').toLowerCase() || 'b'));
  return Math.floor(Number(match[1]) * factor);
}

/** The key sequence that leaves a terminal without ending its program: `ctrl-p,ctrl-q` unless the client says else. */
import { EnxameError } from '#libs/model';

const keysDefault = 'ctrl-p,ctrl-q';
const controlKeys: Readonly<Record<string, number>> = { '@': 0, '[': 27, '\\': 28, ']': 29, '^': 30, _: 31 };

/** Throws `invalid-argument` for what is no list of keys. */
export function parseDetachKeys(text: string): Buffer {
  const codes = (text === '' ? keysDefault : text).split(',').map((key) => {
    if (key.length === 1) return key.charCodeAt(0);
    const letter = /^ctrl-(.)$/i.exec(key)?.[1]?.toLowerCase();
    if (letter !== undefined && letter >= 'a' && letter <= 'z') return letter.charCodeAt(0) - 96;
    const code = letter === undefined ? undefined : controlKeys[letter];
    if (code === undefined)
      throw new EnxameError('invalid-argument', `Invalid detach keys (${text}) provided`);
    return code;
  });
  return Buffer.from(codes);
}

export class DetachKeys {
  readonly #keys: Buffer;
  #matched = 0;

  constructor(text: string) {
    this.#keys = parseDetachKeys(text);
  }

  /** What goes on to the program. The beginning of a sequence is held back until it is clear that it is none. */
  filter(chunk: Buffer): { data: Buffer; detach: boolean } {
    const passed: number[] = [];
    for (const byte of chunk) {
      if (byte === this.#keys[this.#matched]) {
        this.#matched++;
        if (this.#matched === this.#keys.length) return { data: Buffer.from(passed), detach: true };
        continue;
      }
      passed.push(...this.#keys.subarray(0, this.#matched));
      this.#matched = 0;
      if (byte === this.#keys[0]) this.#matched = 1;
      else passed.push(byte);
    }
    return { data: Buffer.from(passed), detach: false };
  }
}

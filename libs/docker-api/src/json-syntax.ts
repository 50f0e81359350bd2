/** Why a text is no JSON, in the words of Go's decoder: clients and their tests look for them. */

class SyntaxProblem extends Error {}

/**
 * The first offence, as Docker's server tells it. A value with something behind it is `unexpected content after JSON`.
 * Call it for texts that `JSON.parse` refuses.
 */
export function whyNotJson(text: string): string {
  const scanner = new Scanner(text);
  try {
    scanner.value();
  } catch (error) {
    if (error instanceof SyntaxProblem) return `invalid JSON: ${error.message}`;
    throw error;
  }
  return 'unexpected content after JSON';
}

/** Walks over one value. Nesting is bounded by the body's size; the walk keeps its own stack. */
class Scanner {
  readonly #text: string;
  #at = 0;

  constructor(text: string) {
    this.#text = text;
  }

  value(): void {
    const open: ('{' | '[')[] = [];
    for (;;) {
      const opened = this.#begin();
      if (opened !== undefined) open.push(opened);
      if (opened === undefined && !this.#closed(open)) return;
      if (opened === '{' && !this.#firstKey(open)) return;
      if (opened === '[' && this.#peek() === ']' && !this.#closed(open)) return;
    }
  }

  /** The beginning of a value: a bracket that opens, or the whole of a plain one. */
  #begin(): '{' | '[' | undefined {
    const next = this.#peek();
    if (next === '{' || next === '[') {
      this.#at++;
      return next;
    }
    if (next === '"') this.#string();
    else if (next === 't') this.#literal('true');
    else if (next === 'f') this.#literal('false');
    else if (next === 'n') this.#literal('null');
    else if (next === '-' || isDigit(next)) this.#number();
    else this.#refuse('looking for beginning of value');
    return undefined;
  }

  /** After `{`: stands before the first value; closes at once when it is empty. False: the outermost value ended. */
  #firstKey(open: ('{' | '[')[]): boolean {
    if (this.#peek() === '}') return this.#closed(open);
    this.#key();
    return true;
  }

  #key(): void {
    if (this.#peek() !== '"') this.#refuse('looking for beginning of object key string');
    this.#string();
    if (this.#peek() !== ':') this.#refuse('after object key');
    this.#at++;
  }

  /** After a value: closes what ends here and goes to the next value. False when the outermost one has ended. */
  #closed(open: ('{' | '[')[]): boolean {
    for (;;) {
      const inside = open.at(-1);
      if (inside === undefined) return false;
      const next = this.#peek();
      if (next === ',') {
        this.#at++;
        if (inside === '{') this.#key();
        return true;
      }
      if (next !== (inside === '{' ? '}' : ']'))
        this.#refuse(inside === '{' ? 'after object key:value pair' : 'after array element');
      this.#at++;
      open.pop();
    }
  }

  #string(): void {
    for (this.#at++; ; this.#at++) {
      const next = this.#here();
      if (next === '"') break;
      if (next < ' ') this.#refuse('in string literal');
      if (next !== '\\') continue;
      this.#at++;
      if (this.#here() === 'u') {
        for (let digit = 0; digit < 4; digit++) {
          this.#at++;
          if (!/[0-9a-fA-F]/.test(this.#here())) this.#refuse(String.raw`in \u hexadecimal character escape`);
        }
      } else if (!'"\\/bfnrt'.includes(this.#here())) this.#refuse('in string escape code');
    }
    this.#at++;
  }

  #literal(word: string): void {
    for (const expected of word) {
      if (this.#here() !== expected) this.#refuse(`in literal ${word} (expecting '${expected}')`);
      this.#at++;
    }
  }

  #number(): void {
    if (this.#here() === '-') this.#at++;
    if (this.#here() === '0') this.#at++;
    else this.#digits('in numeric literal');
    if (this.#text[this.#at] === '.') {
      this.#at++;
      this.#digits('after decimal point in numeric literal');
    }
    if (/[eE]/.test(this.#text[this.#at] ?? '')) {
      this.#at++;
      if (/[+-]/.test(this.#here())) this.#at++;
      this.#digits('in exponent of numeric literal');
    }
  }

  #digits(where: string): void {
    if (!isDigit(this.#here())) this.#refuse(where);
    while (isDigit(this.#text[this.#at] ?? '')) this.#at++;
  }

  /** The next character that is no space, not taken. */
  #peek(): string {
    while (/[ \t\r\n]/.test(this.#text[this.#at] ?? '')) this.#at++;
    return this.#here();
  }

  #here(): string {
    const next = this.#text[this.#at];
    if (next === undefined) throw new SyntaxProblem('unexpected EOF');
    return next;
  }

  #refuse(where: string): never {
    throw new SyntaxProblem(`invalid character ${quoted(this.#here())} ${where}`);
  }
}

function isDigit(text: string): boolean {
  return text >= '0' && text <= '9';
}

function quoted(character: string): string {
  if (character === "'") return String.raw`'\''`;
  if (character === '"') return `'"'`;
  return `'${JSON.stringify(character).slice(1, -1)}'`;
}

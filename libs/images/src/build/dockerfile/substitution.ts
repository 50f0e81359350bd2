/**
 * Variables and quotes in a Dockerfile's words: `$name`, `${name}` with the modifiers `:- - :+ + :? ?`, `# ## % %%`
 * and `/ //`, by the rules of Docker's reference ("Environment replacement").
 */
import { EnxameError } from '#libs/model';

export type Variables = ReadonlyMap<string, string>;

const depthMax = 32;
const resultLengthMax = 1024 * 1024;

function invalid(message: string): EnxameError {
  return new EnxameError('invalid-argument', message);
}

/** One word in, one word out: quotes are taken off, variables replaced; unknown ones are empty. */
export function substitute(word: string, variables: Variables, escape: string): string {
  return new Lexer(word, variables, escape, 0).run();
}

/** As `substitute`, but white space outside quotes, a variable's own included, makes several words. */
export function substituteWords(word: string, variables: Variables, escape: string): string[] {
  return new Lexer(word, variables, escape, 0).runWords();
}

class Lexer {
  private at = 0;
  private words: string[] = [];
  private current = '';
  private inWord = false;

  constructor(
    private readonly text: string,
    private readonly variables: Variables,
    private readonly escape: string,
    private readonly depth: number,
  ) {
    if (depth > depthMax) throw invalid('variables are nested too deep');
  }

  run(): string {
    return this.process('');
  }

  runWords(): string[] {
    this.process('', true);
    if (this.inWord) this.words.push(this.current);
    return this.words;
  }

  /** Up to `end`, or the end of the text when it is empty. */
  private process(end: string, splits = false): string {
    let result = '';
    const add = (text: string, isQuoted: boolean): void => {
      result += text;
      if (result.length > resultLengthMax) throw invalid('a variable grows beyond a limit');
      if (splits) this.addToWords(text, isQuoted);
    };
    while (this.at < this.text.length) {
      const character = this.text[this.at] ?? '';
      if (end !== '' && character === end) {
        this.at++;
        return result;
      }
      if (character === "'") add(this.singleQuoted(), true);
      else if (character === '"') add(this.doubleQuoted(), true);
      else if (character === '$') add(this.dollar(), false);
      else if (character === this.escape) {
        const next = this.text[this.at + 1];
        // An escape at the very end stands for itself being gone.
        if (next !== undefined) add(next, true);
        this.at += 2;
      } else {
        add(character, false);
        this.at++;
      }
    }
    if (end !== '') throw invalid(`syntax error: missing '${end}' in "${this.text}"`);
    return result;
  }

  private addToWords(text: string, isQuoted: boolean): void {
    if (isQuoted) {
      this.current += text;
      this.inWord = true;
      return;
    }
    for (const character of text) {
      if (!/\s/.test(character)) {
        this.current += character;
        this.inWord = true;
      } else if (this.inWord) {
        this.words.push(this.current);
        this.current = '';
        this.inWord = false;
      }
    }
  }

  private singleQuoted(): string {
    const close = this.text.indexOf("'", this.at + 1);
    if (close < 0) throw invalid(`unexpected end of statement while looking for matching single-quote`);
    const inner = this.text.slice(this.at + 1, close);
    this.at = close + 1;
    return inner;
  }

  private doubleQuoted(): string {
    let result = '';
    this.at++;
    while (this.at < this.text.length) {
      const character = this.text[this.at] ?? '';
      if (character === '"') {
        this.at++;
        return result;
      }
      if (character === '$') {
        result += this.dollar();
      } else if (character === this.escape) {
        const next = this.text[this.at + 1];
        if (next === undefined) break;
        result += ['"', '$', this.escape].includes(next) ? next : character + next;
        this.at += 2;
      } else {
        result += character;
        this.at++;
      }
    }
    throw invalid('unexpected end of statement while looking for matching double-quote');
  }

  private dollar(): string {
    const rest = this.text.slice(this.at + 1);
    if (rest.startsWith('{')) {
      this.at += 2;
      return this.braced();
    }
    const name = /^(?:[A-Za-z_][A-Za-z0-9_]*|[0-9@*#?$!-])/.exec(rest)?.[0];
    this.at += 1 + (name?.length ?? 0);
    if (name === undefined) return '$';
    return this.variables.get(name) ?? '';
  }

  private braced(): string {
    const name = /^(?:[A-Za-z_][A-Za-z0-9_]*|[0-9]+|[@*#?$!-])/.exec(this.text.slice(this.at))?.[0];
    if (name === undefined) throw invalid(`syntax error: bad substitution in "${this.text}"`);
    this.at += name.length;
    const value = this.variables.get(name);
    const rest = this.text.slice(this.at);
    if (rest.startsWith('}')) {
      this.at++;
      return value ?? '';
    }
    const operator = /^(?::[-+?]|[-+?]|##|#|%%|%|\/\/|\/)/.exec(rest)?.[0];
    if (operator === undefined) {
      throw invalid(`unsupported modifier (${rest[0] ?? ''}) in substitution`);
    }
    this.at += operator.length;
    if (operator.startsWith('/')) return this.replaced(value ?? '', operator === '//');
    if (operator.startsWith('#') || operator.startsWith('%')) {
      return trimmed(value ?? '', this.rawUntilBrace(), operator);
    }
    const word = this.process('}');
    // The colon makes an empty value count as none.
    const isSet = value !== undefined && (!operator.startsWith(':') || value !== '');
    switch (operator.at(-1)) {
      case '-':
        return isSet ? (value ?? '') : word;
      case '+':
        return isSet ? word : '';
      default:
        if (!isSet) throw invalid(`${name}: ${word === '' ? 'is not allowed to be unset' : word}`);
        return value ?? '';
    }
  }

  /** A pattern keeps its escapes; its variables are replaced. */
  private rawUntilBrace(stop = '}'): string {
    let result = '';
    while (this.at < this.text.length) {
      const character = this.text[this.at] ?? '';
      if (character === stop || character === '}') {
        if (character === stop) this.at++;
        return result;
      }
      if (character === '$') result += this.dollar();
      else if (character === this.escape) {
        result += `\\${this.text[this.at + 1] ?? ''}`;
        this.at += 2;
      } else {
        result += character;
        this.at++;
      }
    }
    throw invalid(`syntax error: missing '}' in "${this.text}"`);
  }

  private replaced(value: string, all: boolean): string {
    const pattern = this.rawUntilBrace('/');
    const by = this.text[this.at - 1] === '/' ? this.process('}') : '';
    if (this.text[this.at - 1] !== '}') this.at++;
    const expression = new RegExp(patternSource(pattern, true), all ? 'gu' : 'u');
    return value.replace(expression, () => by);
  }
}

function trimmed(value: string, pattern: string, operator: string): string {
  const isGreedy = operator.length === 2;
  const source = patternSource(pattern, isGreedy);
  if (operator.startsWith('#')) return value.replace(new RegExp(`^(?:${source})`, 'u'), '');
  const whole = new RegExp(`^(?:${source})$`, 'u');
  // From the end: the longest suffix begins first, the shortest last.
  const starts = Array.from({ length: value.length + 1 }, (_none, i) => i);
  for (const start of isGreedy ? starts : starts.reverse()) {
    if (whole.test(value.slice(start))) return value.slice(0, start);
  }
  return value;
}

/** `*` and `?` of a shell pattern as a regular expression. */
function patternSource(pattern: string, isGreedy: boolean): string {
  let source = '';
  for (let at = 0; at < pattern.length; at++) {
    const character = pattern[at] ?? '';
    if (character === '*') source += isGreedy ? '[^]*' : '[^]*?';
    else if (character === '?') source += '[^]';
    else {
      const literal = character === '\\' && at + 1 < pattern.length ? (pattern[++at] ?? '') : character;
      source += literal.replace(/[\\^$.*+?()[\]{}|/]/g, '\\$&');
    }
  }
  return source;
}

/**
 * `.dockerignore`: the rules of Docker's reference. Clients leave out what it names before they send a context; the
 * engine asks only about the Dockerfile and the ignore file themselves, which clients always send.
 */
import { EnxameError } from '#libs/model';

interface Rule {
  pattern: RegExp;
  negated: boolean;
}

export function readIgnoreFile(text: string): Rule[] {
  return text
    .replace(/^\uFEFF/, '')
    .split(/\r?\n/)
    .map((line) => line.trim())
    .filter((line) => line !== '' && !line.startsWith('#'))
    .map((line) => {
      const negated = line.startsWith('!');
      const path = cleaned(negated ? line.slice(1).trim() : line);
      if (path === '') throw new EnxameError('invalid-argument', `illegal exclusion pattern: "${line}"`);
      return { pattern: ignorePattern(path), negated };
    })
    .filter(({ pattern }) => pattern.source !== '^\\.$');
}

/** The last rule that fits the path, or a folder above it, decides. */
export function isIgnored(rules: readonly Rule[], path: string): boolean {
  const parts = path.split('/');
  const candidates = parts.map((_part, i) => parts.slice(0, i + 1).join('/'));
  let ignored = false;
  for (const { pattern, negated } of rules) {
    if (negated !== ignored) continue;
    if (candidates.some((candidate) => pattern.test(candidate))) ignored = !negated;
  }
  return ignored;
}

function cleaned(path: string): string {
  const parts: string[] = [];
  for (const part of path.split('/')) {
    if (part === '..') parts.pop();
    else if (part !== '' && part !== '.') parts.push(part);
  }
  return parts.length === 0 && path !== '' ? '.' : parts.join('/');
}

/** `*` and `?` stop at a slash, `**` does not, `[a-z]` is a class, a backslash takes the next as it is. */
function ignorePattern(path: string): RegExp {
  let source = '';
  for (let at = 0; at < path.length; at++) {
    const character = path[at] ?? '';
    if (path.startsWith('**', at)) {
      at++;
      if (path[at + 1] === '/') at++;
      // `**/a` finds `a` at the top, too; `a/**` everything below `a`.
      source += at === path.length - 1 ? '.*' : '(?:.*/)?';
    } else if (character === '*') source += '[^/]*';
    else if (character === '?') source += '[^/]';
    else if (character === '[' && path.indexOf(']', at + 2) > 0) {
      const close = path.indexOf(']', at + 2);
      const inner = path.slice(at + 1, close).replace(/\\/g, '\\\\');
      source += `[${inner.replace(/^!/, '^')}]`;
      at = close;
    } else {
      const literal = character === '\\' && at + 1 < path.length ? (path[++at] ?? '') : character;
      source += literal.replace(/[\\^$.*+?()[\]{}|/]/g, '\\$&');
    }
  }
  try {
    return new RegExp(`^${source}$`, 's');
  } catch (error) {
    throw new EnxameError('invalid-argument', `illegal exclusion pattern: "${path}"`, { cause: error });
  }
}

/**
 * Go's filepath.Match: `*` and `?` stop at a slash, `[a-z]` and `[^a-z]` are classes, a backslash takes the next as it
 * is. A `*` is tried anew only from the last one, so the time is at most pattern times text.
 */
export function matchesPattern(pattern: string, text: string): boolean {
  const patterns = pattern.split('/');
  const texts = text.split('/');
  return patterns.length === texts.length && patterns.every((part, i) => matchesPart(part, texts[i] ?? ''));
}

function matchesPart(pattern: string, text: string): boolean {
  const tokens = pattern.match(/\*+|\[\^?[^\]]+\]|\\[\s\S]|[\s\S]/g) ?? [];
  let token = 0;
  let at = 0;
  let retryToken = -1;
  let retryAt = 0;
  while (at < text.length || token < tokens.length) {
    const wanted = tokens[token];
    if (wanted?.startsWith('*') === true) {
      retryToken = token++;
      retryAt = at;
    } else if (at < text.length && wanted !== undefined && matchesCharacter(wanted, text[at] ?? '')) {
      token++;
      at++;
    } else if (retryToken >= 0 && retryAt < text.length) {
      // The last star takes one character more.
      token = retryToken + 1;
      at = ++retryAt;
    } else {
      return false;
    }
  }
  return true;
}

function matchesCharacter(wanted: string, character: string): boolean {
  if (wanted === '?') return true;
  if (wanted.length === 2 && wanted.startsWith('\\')) return wanted[1] === character;
  if (wanted.length === 1) return wanted === character;
  const negated = wanted[1] === '^';
  const inner = wanted.slice(negated ? 2 : 1, -1);
  let found = false;
  for (let i = 0; i < inner.length; i++) {
    const low = inner[i] ?? '';
    const isRange = inner[i + 1] === '-' && i + 2 < inner.length;
    const high = isRange ? (inner[i + 2] ?? '') : low;
    if (isRange) i += 2;
    if (character >= low && character <= high) found = true;
  }
  return found !== negated;
}

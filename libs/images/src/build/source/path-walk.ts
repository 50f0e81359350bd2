/** Paths inside a tree of files that is known by name alone. */

/** Without `.`, `..`, empty parts and slashes at the ends; undefined when it leaves the tree. */
export function insidePath(path: string): string | undefined {
  const parts: string[] = [];
  for (const part of path.split('/')) {
    if (part === '' || part === '.') continue;
    if (part !== '..') parts.push(part);
    else if (parts.pop() === undefined) return undefined;
  }
  return parts.join('/');
}

export function parentOf(path: string): string {
  return path.slice(0, Math.max(0, path.lastIndexOf('/')));
}

export function baseOf(path: string): string {
  return path.slice(path.lastIndexOf('/') + 1);
}

/** All folders above a path, the nearest last; the root is not among them. */
export function foldersAbove(path: string): string[] {
  const parts = path.split('/').slice(0, -1);
  return parts.map((_part, i) => parts.slice(0, i + 1).join('/'));
}

export function hasWildcard(path: string): boolean {
  return /[*?[]/.test(path);
}

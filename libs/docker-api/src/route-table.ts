/** Which handler answers a path. Literal segments win over parameters, parameters over those that take slashes. */
import { EnxameError } from '#libs/model';
import type { Route } from './port.js';

export interface RouteTable {
  find(method: string, path: string): { route: Route; params: Record<string, string> } | undefined;
  /** True when some method is answered at this path. */
  knows(path: string): boolean;
}

interface CompiledRoute {
  route: Route;
  pattern: RegExp;
  names: string[];
  /** One digit per segment: 0 literal, 1 parameter, 2 parameter with slashes. */
  rank: string;
}

export function createRouteTable(routes: readonly Route[]): RouteTable {
  const compiled = routes.map(compile).sort(bySpecificity);
  const byMethod = new Map<string, CompiledRoute[]>();
  for (const entry of compiled) {
    const list = byMethod.get(entry.route.method) ?? [];
    if (list.some((other) => other.route.path === entry.route.path)) {
      throw new Error(`route declared twice: ${entry.route.method} ${entry.route.path}`);
    }
    list.push(entry);
    byMethod.set(entry.route.method, list);
  }
  function find(method: string, path: string): { route: Route; params: Record<string, string> } | undefined {
    for (const entry of byMethod.get(method) ?? []) {
      const match = entry.pattern.exec(path);
      if (match !== null) return { route: entry.route, params: paramsOf(entry, match) };
    }
    // Whatever answers GET answers HEAD, too: the server leaves the body out.
    return method === 'HEAD' ? find('GET', path) : undefined;
  }
  return { find, knows: (path) => compiled.some((entry) => entry.pattern.test(path)) };
}

function compile(route: Route): CompiledRoute {
  const names: string[] = [];
  let rank = '';
  const parts = route.path
    .split('/')
    .slice(1)
    .map((segment) => {
      if (!segment.startsWith(':')) {
        rank += '0';
        return segment.replace(/[.*+?^${}()|[\]\\]/g, String.raw`\$&`);
      }
      const manySegments = segment.endsWith('+');
      names.push(manySegments ? segment.slice(1, -1) : segment.slice(1));
      rank += manySegments ? '2' : '1';
      return manySegments ? '(.+)' : '([^/]+)';
    });
  return { route, names, rank, pattern: new RegExp(`^/${parts.join('/')}$`) };
}

/** Segment by segment; where one path is the beginning of the other, the longer one comes first. */
function bySpecificity(a: CompiledRoute, b: CompiledRoute): number {
  const length = Math.min(a.rank.length, b.rank.length);
  for (let i = 0; i < length; i++) {
    const difference = Number(a.rank[i]) - Number(b.rank[i]);
    if (difference !== 0) return difference;
  }
  return b.rank.length - a.rank.length;
}

function paramsOf(entry: CompiledRoute, match: RegExpExecArray): Record<string, string> {
  const params: Record<string, string> = {};
  for (const [index, name] of entry.names.entries()) {
    const raw = match[index + 1] ?? '';
    try {
      params[name] = decodeURIComponent(raw);
    } catch (error) {
      throw new EnxameError('invalid-argument', `invalid URL escape in path parameter ${name}`, {
        cause: error,
      });
    }
  }
  return params;
}

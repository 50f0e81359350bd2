/** A process's environment: Docker's defaults, then what was asked for. */
import { defaultPath } from '../sandbox/default-sandbox.js';

/** Later entries replace earlier ones of the same name in place; a name without `=` takes it away. */
export function environmentOf(options: {
  hostname: string;
  home: string;
  tty: boolean;
  /** Later lists win. */
  given: readonly (readonly string[])[];
}): string[] {
  const variables = new Map<string, string>([
    ['PATH', defaultPath],
    ['HOSTNAME', options.hostname],
  ]);
  if (options.tty) variables.set('TERM', 'xterm');
  for (const entry of options.given.flat()) {
    const at = entry.indexOf('=');
    if (at > 0) variables.set(entry.slice(0, at), entry.slice(at + 1));
    else if (at < 0) variables.delete(entry);
  }
  if (!variables.has('HOME')) variables.set('HOME', options.home);
  return [...variables].map(([name, value]) => `${name}=${value}`);
}

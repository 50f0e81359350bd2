/** Other people's programs, as far as set-up could provide them. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const clientsFolder = join(fileURLToPath(new URL('../../..', import.meta.url)), 'build/tools/clients');

/** Why a client is not there; undefined when it is. */
export function missing(client: string): string | undefined {
  const file = join(clientsFolder, 'missing.json');
  if (!existsSync(file)) return 'set-up has not been run for tests';
  return (JSON.parse(readFileSync(file, 'utf8')) as Record<string, string>)[client];
}

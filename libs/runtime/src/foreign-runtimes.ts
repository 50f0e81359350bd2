import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';

/** Those that `--runtime` takes beside our own, where the node has them. */
const names = ['crun', 'runc'] as const;
const folders = ['/usr/local/sbin', '/usr/local/bin', '/usr/sbin', '/usr/bin', '/sbin', '/bin'];
let found: ReadonlyMap<string, string> | undefined;

/** Other OCI runtimes of this node, by name: their programs. Looked for once, in the PATH and where Debian puts them. */
export function foreignRuntimes(): ReadonlyMap<string, string> {
  found ??= new Map(
    names.flatMap((name): [string, string][] => {
      const places = [...(process.env.PATH ?? '').split(delimiter), ...folders].map((folder) =>
        join(folder, name),
      );
      const program = places.find((path) => path.startsWith('/') && isProgram(path));
      return program === undefined ? [] : [[name, program]];
    }),
  );
  return found;
}

function isProgram(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

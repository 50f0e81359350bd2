/**
 * The processes run as bundles, and their stack traces are to name the TypeScript. Node's own `--enable-source-maps`
 * would read every map at every start and work on every stack that a library looks at; here the map is read when the
 * first error is written down.
 */
import { existsSync, readFileSync } from 'node:fs';
import { SourceMap, type SourceMapPayload } from 'node:module';
import { dirname, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const framePattern = /(?:file:\/\/)?(\/[^\s()]+\.js):(\d+):(\d+)/g;
const maps = new Map<string, SourceMap | undefined>();

/** The text of a stack with the places of emitted code replaced by those of the source it was made from. */
export function sourcePositions(stack: string): string {
  return stack.replace(framePattern, (frame: string, path: string, line: string, column: string) => {
    const file = fileURLToPath(`file://${path}`);
    const entry = mapOf(file)?.findEntry(Number(line) - 1, Number(column) - 1);
    if (entry === undefined || !('originalSource' in entry)) return frame;
    const source = resolve(dirname(file), entry.originalSource);
    // Of packages the bundle's map knows the file alone.
    if (source.includes('/node_modules/')) return source;
    return `${source}:${entry.originalLine + 1}:${entry.originalColumn + 1}`;
  });
}

function mapOf(file: string): SourceMap | undefined {
  if (!maps.has(file)) maps.set(file, readMap(`${file}.map`));
  return maps.get(file);
}

function readMap(file: string): SourceMap | undefined {
  if (!existsSync(file)) return undefined;
  try {
    return new SourceMap(JSON.parse(readFileSync(file, 'utf8')) as SourceMapPayload);
  } catch {
    // A stack that names the emitted code is better than none.
    return undefined;
  }
}

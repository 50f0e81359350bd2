/** The product's version, read once from the package it is part of. */
import { existsSync, readFileSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const productName = 'Enxame';
const ownFile = fileURLToPath(import.meta.url);
export const productVersion: string = readVersion(dirname(ownFile));
export const productBuiltAtMs: number = statSync(ownFile).mtimeMs;

function readVersion(folder: string): string {
  for (let current = folder; current !== dirname(current); current = dirname(current)) {
    const file = join(current, 'package.json');
    if (!existsSync(file)) continue;
    const parsed = JSON.parse(readFileSync(file, 'utf8')) as { name?: string; version?: string };
    if (parsed.name === 'enxame' && parsed.version !== undefined) return parsed.version;
  }
  throw new Error(`no package.json of ${productName} above ${folder}`);
}

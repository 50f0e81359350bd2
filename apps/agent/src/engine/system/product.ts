/** The product's version, read once from the package it is part of. */
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const productName = 'Enxame';
export const productVersion: string = readVersion(dirname(fileURLToPath(import.meta.url)));

function readVersion(folder: string): string {
  for (let current = folder; current !== dirname(current); current = dirname(current)) {
    const file = join(current, 'package.json');
    if (!existsSync(file)) continue;
    const parsed = JSON.parse(readFileSync(file, 'utf8')) as { name?: string; version?: string };
    if (parsed.name === 'enxame' && parsed.version !== undefined) return parsed.version;
  }
  throw new Error(`no package.json of ${productName} above ${folder}`);
}

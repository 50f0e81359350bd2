import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect } from 'chai';
import { sourcePositions } from './index.js';

describe('source positions', () => {
  it('names the TypeScript of emitted code', () => {
    const emitted = fileURLToPath(import.meta.url);
    const lines = readFileSync(emitted, 'utf8').split('\n');
    const line = lines.findIndex((text) => text.includes("it('names the TypeScript")) + 1;
    const shown = sourcePositions(`Error: no\n    at Context.<anonymous> (file://${emitted}:${line}:5)`);
    expect(shown).to.match(
      /^Error: no\n {4}at Context\.<anonymous> \(\/.*\/libs\/log\/src\/source-positions\.spec\.ts:7:3\)$/,
    );
  });

  it('leaves what has no map as it is', () => {
    const stack = 'Error: no\n    at f (/nowhere/x.js:1:2)\n    at node:internal/process:3:4';
    expect(sourcePositions(stack)).to.equal(stack);
  });
});

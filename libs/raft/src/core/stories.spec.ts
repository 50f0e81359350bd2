/**
 * Stories: `testdata/*.txt`, blocks of a command line, `----` and what it made happen. Lines that begin with `#` tell
 * why. ENXAME_REWRITE=1 writes what happens now in place of what should.
 */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect } from 'chai';
import { StoryWorld } from './testing/story-world.js';

/** The build does not copy text files: they are read where they are written. */
const folder = fileURLToPath(new URL('../../../../../libs/raft/src/core/testdata/', import.meta.url));

function retell(story: string): string {
  const world = new StoryWorld();
  return story
    .split('\n\n')
    .map((block) => {
      const lines = block.trim().split('\n');
      const comments = lines.filter((line) => line.startsWith('#'));
      const command = lines.find((line) => line !== '' && !line.startsWith('#'));
      if (command === undefined) return comments.join('\n');
      return [...comments, command, '----', ...world.run(command)].join('\n');
    })
    .join('\n\n')
    .concat('\n');
}

describe('raft: stories', () => {
  for (const name of readdirSync(folder).filter((each) => each.endsWith('.txt'))) {
    it(name.replace('.txt', '').replaceAll('-', ' '), () => {
      const story = readFileSync(folder + name, 'utf8');
      const retold = retell(story);
      if (process.env['ENXAME_REWRITE'] === '1') writeFileSync(folder + name, retold);
      else expect(retold).to.equal(story);
    });
  }
});

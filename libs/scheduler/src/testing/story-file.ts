/**
 * Stories: text files of commands and what they print. A block is `command`, `----`, expected output, and ends at an
 * empty line; lines that begin with `#` between blocks are for people. The form is etcd-io/raft's `testdata`.
 */

/** Runs every command and returns the story with what was really printed, so that a change can be read as a diff. */
export function playStory(text: string, run: (command: string) => string): string {
  const blocks = text.trimEnd().split(/\n{2,}/);
  return `${blocks.map((block) => playBlock(block, run)).join('\n\n')}\n`;
}

function playBlock(block: string, run: (command: string) => string): string {
  const lines = block.split('\n');
  const separator = lines.indexOf('----');
  const head = separator < 0 ? lines : lines.slice(0, separator);
  const commands = head.filter((line) => line !== '' && !line.startsWith('#'));
  if (commands.length === 0) return block;
  const printed = commands
    .map(run)
    .filter((output) => output !== '')
    .join('\n');
  return [...head, '----', ...(printed === '' ? [] : [printed])].join('\n');
}

/** `name first second key=value key=value`, values without spaces; a key may come more than once. */
export function parseCommand(line: string): {
  name: string;
  words: string[];
  options: Map<string, string[]>;
} {
  const [name = '', ...rest] = line.trim().split(/\s+/);
  const words: string[] = [];
  const options = new Map<string, string[]>();
  for (const part of rest) {
    const match = /^([a-z][a-zA-Z0-9-]*)=(.*)$/.exec(part);
    if (match === null) {
      words.push(part);
      continue;
    }
    const [, key = '', value = ''] = match;
    options.set(key, [...(options.get(key) ?? []), value]);
  }
  return { name, words, options };
}

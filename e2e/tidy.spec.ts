/** What a linter cannot hold: sizes, names, words, and files nobody imports. */
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { basename, dirname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect } from 'chai';

const root = fileURLToPath(new URL('../..', import.meta.url));
const files = execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard'], {
  cwd: root,
  encoding: 'utf8',
})
  .split('\n')
  .filter((file) => file && existsSync(join(root, file)));
const sources = files.filter((file) => /\.(ts|mjs|c|h)$/.test(file) && !file.includes('/generated/'));
const read = (file: string): string => readFileSync(join(root, file), 'utf8');

/** Longest file allowed, in lines. A ratchet: it may go down. */
const fileLinesMax = 600;

describe('tidiness', () => {
  it('keeps files short enough to read in one sitting', () => {
    const long = sources.filter((file) => read(file).split('\n').length > fileLinesMax);
    expect(long).to.deep.equal([]);
  });

  it('names files in kebab-case (C: snake_case) and folders after an actor or a noun', () => {
    const bad = sources.filter((file) => {
      const plain = basename(file).replace(/(\.spec|\.e2e|\.controller|\.dto|\.module)?\.(ts|mjs|c|h)$/, '');
      // C names its files with underscores.
      const name = /\.[ch]$/.test(file) ? plain.replaceAll('_', '-') : plain;
      return (
        !/^[a-z0-9]+(-[a-z0-9]+)*(\.[a-z0-9-]+)*$/.test(name) ||
        /(^|\/)(helpers?|common|utils?|misc|v2)\//.test(file)
      );
    });
    expect(bad).to.deep.equal([]);
  });

  it('has only the top-level folders of the house', () => {
    const folders = new Set(files.filter((file) => file.includes('/')).map((file) => file.split('/')[0]));
    expect([...folders].sort()).to.deep.equal(['.ci', 'apps', 'deploy', 'e2e', 'libs', 'proto']);
  });

  it('leaves no mark of unfinished work and no exclusive test', () => {
    const marks = [/\bTO(?:DO)\b/, /\bFIX(?:ME)\b/, /\bXX(?:X)\b/, /\b(?:it|describe)\.only\(/];
    const found = sources.flatMap((file) => {
      const text = read(file);
      return marks.filter((mark) => mark.test(text)).map((mark) => `${file}: ${mark.source}`);
    });
    expect(found).to.deep.equal([]);
  });

  it('says no word that has a better one', () => {
    const better: Record<string, RegExp> = {
      'name the thing it does': /\bclass \w*(?:Helper|Util|Misc)\b/,
    };
    const found = sources
      .filter((file) => file !== 'e2e/tidy.spec.ts')
      .flatMap((file) =>
        Object.entries(better)
          .filter(([, word]) => word.test(read(file)))
          .map(([instead]) => `${file}: ${instead}`),
      );
    expect(found).to.deep.equal([]);
  });

  it('has no TypeScript file that nothing reaches', () => {
    const typescript = sources.filter((file) => file.endsWith('.ts'));
    const roots = typescript.filter((file) =>
      /(\.spec|\.e2e)\.ts$|\/main\.ts$|\/src\/(index|testing)\.ts$|^e2e\/run\.ts$|-worker\.ts$/.test(file),
    );
    const reached = new Set<string>();
    const visit = (file: string): void => {
      if (reached.has(file)) return;
      reached.add(file);
      for (const match of read(file).matchAll(/(?:from|import\(|import|new URL\()\s*'([^']+)'/g)) {
        const target = match[1]!;
        if (target.startsWith('.') && target.endsWith('.js')) {
          const path = normalize(join(dirname(file), target)).replace(/\.js$/, '.ts');
          if (existsSync(join(root, path))) visit(path);
        }
      }
    };
    for (const file of roots) visit(file);
    expect(typescript.filter((file) => !reached.has(file) && !file.includes('/generated/'))).to.deep.equal(
      [],
    );
  });

  it('names no command in package.json: npx would install the project into its cache for it', () => {
    expect(JSON.parse(read('package.json'))).to.not.have.property('bin');
  });

  it('has built nothing whose source is gone: mocha would run it', () => {
    const emitted = ['apps', 'libs', 'e2e'].flatMap((folder) =>
      readdirSync(join(root, 'dist', folder), { recursive: true, encoding: 'utf8' }).map((name) =>
        join(folder, name),
      ),
    );
    const orphans = emitted.filter(
      (file) => file.endsWith('.js') && !existsSync(join(root, file.replace(/\.js$/, '.ts'))),
    );
    expect(orphans).to.deep.equal([]);
  });

  it('lets pure libraries read no clock and no global randomness', () => {
    const pure = sources.filter(
      (file) =>
        /^libs\/(model|orchestrator|scheduler|balancer|sim)\/src\/|^libs\/raft\/src\/core\/|^libs\/network\/src\/allocation\//.test(
          file,
        ) &&
        !file.endsWith('.spec.ts') &&
        // The one file of the simulation that meets the outside: it takes arguments and prints.
        file !== 'libs/sim/src/main.ts' &&
        !file.includes('/testing/') &&
        !file.includes('/simulation/'),
    );
    expect(pure.length).to.be.greaterThan(10);
    const found = pure.filter((file) =>
      /\b(?:Date\.now|new Date\(\)|Math\.random|performance\.now|setTimeout|setInterval|randomBytes|randomUUID)\b/.test(
        read(file),
      ),
    );
    expect(found).to.deep.equal([]);
  });
});

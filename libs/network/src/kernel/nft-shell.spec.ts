import { expect } from 'chai';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describeError } from '#libs/model';
import { runCommand } from './command.js';
import { NftShell } from './nft-shell.js';

describe('NftShell', () => {
  const folder = mkdtempSync(join(tmpdir(), 'enxame-nft-'));
  const table = `enxame_spec_${process.pid}`;
  const shell = new NftShell();
  let files = 0;

  function script(...lines: string[]): string {
    const file = join(folder, `${files++}.nft`);
    writeFileSync(file, `${lines.join('\n')}\n`);
    return file;
  }

  async function elements(): Promise<string[]> {
    const { stdout } = await runCommand('nft', ['list', 'table', 'ip', table]);
    return stdout.match(/192\.0\.2\.\d+/g) ?? [];
  }

  async function refusal(file: string): Promise<string> {
    try {
      await shell.run(file);
      return 'no refusal';
    } catch (error) {
      return describeError(error);
    }
  }

  before(() => shell.run(script(`add table ip ${table}`, `add set ip ${table} s { type ipv4_addr; }`)));
  after(async () => {
    shell.close();
    await runCommand('nft', ['delete', 'table', 'ip', table]);
    rmSync(folder, { recursive: true });
  });

  it('applies scripts one after the other', async () => {
    await Promise.all([
      shell.run(script(`add element ip ${table} s { 192.0.2.1 }`)),
      shell.run(
        script(`delete element ip ${table} s { 192.0.2.1 }`, `add element ip ${table} s { 192.0.2.2 }`),
      ),
    ]);
    expect(await elements()).to.deep.equal(['192.0.2.2']);
  });

  it('applies nothing of a script with a fault, says which, and goes on with the next', async () => {
    const bad = script(
      `add element ip ${table} s { 192.0.2.3 }`,
      `add element ip ${table} nosuch { 192.0.2.4 }`,
    );
    expect(await refusal(bad)).to.match(/refused .*nosuch/s);
    expect(await refusal(join(folder, 'missing.nft'))).to.include('missing.nft');
    expect(await elements()).to.deep.equal(['192.0.2.2']);
    await shell.run(script(`add element ip ${table} s { 192.0.2.5 }`));
    expect(await elements()).to.deep.equal(['192.0.2.2', '192.0.2.5']);
  });

  it('starts again after it was ended in the middle', async () => {
    const cut = refusal(script(`add element ip ${table} s { 192.0.2.6 }`));
    // After what is due already and before any answer can be read.
    await new Promise<void>((resolve) => process.nextTick(resolve));
    shell.close();
    expect(await cut).to.include('nft was ended');
    await shell.run(script(`flush set ip ${table} s`, `add element ip ${table} s { 192.0.2.7 }`));
    expect(await elements()).to.deep.equal(['192.0.2.7']);
  });
});

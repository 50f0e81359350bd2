import { EnxameError } from '#libs/model';
import { expect } from 'chai';
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  makeStorageKey,
  makeUnlockKey,
  parseUnlockKey,
  readStorageKeys,
  storageKeysFile,
  writeStorageKeys,
} from './index.js';

function messageOf(action: () => unknown): string {
  try {
    action();
  } catch (error) {
    expect(error).to.be.instanceOf(EnxameError);
    return (error as Error).message;
  }
  throw new Error('expected an error');
}

describe('pki: storage keys', () => {
  let dir: string;
  const keys = [makeStorageKey(), makeStorageKey()];
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'enxame-keys-'));
  });
  afterEach(() => rmSync(dir, { recursive: true }));

  it('are read back, from a private file', () => {
    expect(readStorageKeys(dir)).to.equal(undefined);
    writeStorageKeys(dir, keys, undefined);
    expect(readStorageKeys(dir)).to.deep.equal({ kind: 'open', keys });
    expect(statSync(join(dir, storageKeysFile)).mode & 0o777).to.equal(0o600);
  });

  it('are opened by the unlock key alone, once they are locked', () => {
    const unlockKey = makeUnlockKey(Buffer.alloc(32, 7));
    writeStorageKeys(dir, keys, unlockKey);
    expect(readFileSync(join(dir, storageKeysFile), 'utf8')).to.not.contain(keys[0]?.key.toString('base64'));
    const locked = readStorageKeys(dir);
    if (locked?.kind !== 'locked') throw new Error('not locked');
    expect(locked.open(`${unlockKey}\n`)).to.deep.equal(keys);
    const wrong = makeUnlockKey(Buffer.alloc(32, 8));
    expect(messageOf(() => locked.open(wrong))).to.equal('swarm could not be unlocked: invalid key provided');
  });

  it('say which file is damaged', () => {
    for (const text of ['', '{', '{"format":2}', '{"format":1}']) {
      writeFileSync(join(dir, storageKeysFile), text);
      expect(messageOf(() => readStorageKeys(dir))).to.contain(join(dir, storageKeysFile));
    }
  });

  it('have unlock keys in a form of their own', () => {
    const key = makeUnlockKey(Uint8Array.from({ length: 32 }, (_, i) => i));
    expect(key).to.match(/^SWMKEY-1-[A-Za-z0-9+/]{43}$/);
    expect([...parseUnlockKey(key)]).to.deep.equal(Array.from({ length: 32 }, (_, i) => i));
    expect(messageOf(() => parseUnlockKey('SWMTKN-1-x'))).to.contain('it must begin with SWMKEY-1-');
    expect(messageOf(() => parseUnlockKey('SWMKEY-1-short'))).to.contain('43 characters of base64');
  });
});

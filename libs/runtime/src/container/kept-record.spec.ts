import { expect } from 'chai';
import { noHealth } from '../health/health-state.js';
import type { ContainerRecord } from './container-record.js';
import { KeptRecord } from './kept-record.js';

type Phase = ContainerRecord['phase'];

/** A disk whose writes end when they are told to. */
class SlowDisk {
  readonly written: Phase[] = [];
  readonly #waiting: { phase: Phase; end: (error?: Error) => void }[] = [];

  save({ phase }: ContainerRecord): Promise<void> {
    return new Promise((resolve, reject) => {
      const end = (error?: Error): void => {
        if (error) return reject(error);
        this.written.push(phase);
        resolve();
      };
      this.#waiting.push({ phase, end });
    });
  }

  get underWay(): Phase[] {
    return this.#waiting.map(({ phase }) => phase);
  }

  async end(error?: Error): Promise<void> {
    this.#waiting.shift()?.end(error);
    await turn();
  }
}

function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

describe('a kept record', () => {
  let disk: SlowDisk;
  let kept: KeptRecord;

  beforeEach(() => {
    disk = new SlowDisk();
    const config = {} as ContainerRecord['config'];
    kept = new KeptRecord(disk, { format: 1, config, phase: 'created', launching: false, health: noHealth });
  });

  it('is written once at a time, and a write that waited takes the newest along', async () => {
    const first = kept.save({ launching: true });
    await turn();
    const second = kept.save({ phase: 'running' });
    const third = kept.save({ phase: 'exited' });
    expect(kept.now.phase).to.equal('exited');
    await turn();
    expect(disk.underWay).to.deep.equal(['created']);
    await disk.end();
    await first;
    expect(disk.underWay).to.deep.equal(['exited']);
    await disk.end();
    await Promise.all([second, third, kept.settled()]);
    expect(disk.written).to.deep.equal(['created', 'exited']);
  });

  it('tells its caller of a failed write, and is written again after it', async () => {
    const failed = kept.save({ phase: 'running' }).catch((error: Error) => error.message);
    await turn();
    const next = kept.save();
    await disk.end(new Error('disk full'));
    expect(await failed).to.equal('disk full');
    await disk.end();
    await next;
    expect(disk.written).to.deep.equal(['running']);
  });

  it('is not written while it leaves, but again when it stays after all', async () => {
    await kept.leave(async () => {
      await kept.save({ phase: 'exited' });
      expect(disk.underWay).to.deep.equal([]);
    });
    expect(kept.isLeaving).to.equal(true);
    const busy = kept.leave(() => Promise.reject(new Error('busy'))).catch((error: Error) => error.message);
    expect(await busy).to.equal('busy');
    const saved = kept.save();
    await turn();
    await disk.end();
    await saved;
    expect(disk.written).to.deep.equal(['exited']);
  });
});

/** Whole nodes under faults drawn from a seed, which is in the test's name: what a caller may rely on, whatever happens. */
import { expect } from 'chai';
import { seededRandom } from '../core/testing/random.js';
import { TestGroup } from './testing/test-group.js';

const ids = ['a', 'b', 'c'];
const faultsPerRun = 10;

class Chaos {
  readonly group = new TestGroup();
  readonly acknowledged: string[] = [];
  readonly staleReads: string[] = [];
  private isOver = false;
  private next = 0;

  constructor(private readonly random: () => number) {
    // So little is kept that members meet snapshots all the time, and so small slices that work is always left over.
    this.group.limits = {
      snapshotEntries: 15,
      keptEntries: 2,
      keptBytes: 0,
      applySliceEntries: 3,
      proposalTimeoutTicks: 400,
    };
    this.group.random = random;
  }

  async run(): Promise<void> {
    await this.group.bootstrap(...ids);
    await this.group.leader();
    const callers = [this.write(), this.write(), this.write(), this.read(), this.read()];
    for (let fault = 0; fault < faultsPerRun; fault++) {
      await this.disturb();
      await this.progress(10);
    }
    this.group.network.heal();
    this.isOver = true;
    await Promise.all(callers);
    await this.group.get('a').node.propose(Buffer.from('end'));
    await this.group.until(
      () => ids.every((id) => this.group.get(id).ledger.lines.at(-1) === 'end'),
      'everybody has the last line',
    );
  }

  private anyId(): string {
    return ids[Math.floor(this.random() * ids.length)] as string;
  }

  private async write(): Promise<void> {
    while (!this.isOver) {
      const line = `line ${this.next++}`;
      await this.group
        .get(this.anyId())
        .node.propose(Buffer.from(line))
        .then(
          () => this.acknowledged.push(line),
          () => undefined,
        );
      await turn();
    }
  }

  private async read(): Promise<void> {
    while (!this.isOver) {
      const { id, node, ledger } = this.group.get(this.anyId());
      const before = this.acknowledged.slice(-30);
      const isRead = await node.readIndex().then(
        () => true,
        () => false,
      );
      const held = new Set(ledger.lines);
      if (isRead && before.some((line) => !held.has(line))) this.staleReads.push(id);
      await turn();
    }
  }

  private async disturb(): Promise<void> {
    const { network } = this.group;
    const faults = [
      () => network.isolate(this.anyId()),
      () => network.heal(),
      () => this.group.restart(this.anyId()),
      () => {
        network.passes = () => this.random() > 0.2;
        network.copies = () => (this.random() < 0.2 ? 2 : 1);
      },
      () =>
        void this.group
          .get(this.anyId())
          .node.transferLeadership()
          .catch(() => undefined),
    ];
    await faults[Math.floor(this.random() * faults.length)]?.();
  }

  /** Waits for so many acknowledgements, but not for long: with two members cut off there are none. */
  private async progress(count: number): Promise<void> {
    const wanted = this.acknowledged.length + count;
    for (let turns = 0; turns < 2_000 && this.acknowledged.length < wanted; turns++) await turn();
  }
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe('raft: nodes under faults', function () {
  this.timeout(60_000);

  for (const seed of [1, 2, 3]) {
    it(`lose nothing acknowledged, apply nothing twice, read nothing stale (seed ${seed})`, async () => {
      const chaos = new Chaos(seededRandom(seed));
      try {
        await chaos.run();
        const [first = [], ...others] = ids.map((id) => chaos.group.get(id).ledger.lines);
        for (const lines of others) expect(lines).to.deep.equal(first);
        const held = new Set(first);
        expect(held.size, 'each line once').to.equal(first.length);
        expect(chaos.acknowledged.filter((line) => !held.has(line))).to.deep.equal([]);
        expect(chaos.staleReads).to.deep.equal([]);
        expect(chaos.acknowledged.length).to.be.greaterThan(10);
      } finally {
        await chaos.group.stop();
      }
    });
  }
});

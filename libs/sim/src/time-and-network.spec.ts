import { expect } from 'chai';
import { SimClock } from './clock.js';
import { SimNetwork } from './network.js';
import { SeededRandom } from './random.js';
import { Scheduler } from './scheduler.js';

function runTo(scheduler: Scheduler, ms: number): void {
  while (scheduler.runNext(ms));
}

describe('sim: scheduler', () => {
  it('does things in the order of their time, then of asking', () => {
    const scheduler = new Scheduler();
    const random = new SeededRandom(1);
    const done: { at: number; asked: number }[] = [];
    for (let asked = 0; asked < 500; asked++) {
      scheduler.after(random.below(50), () => done.push({ at: scheduler.nowMs, asked }));
    }
    runTo(scheduler, 100);
    expect(done).to.have.length(500);
    expect(done).to.deep.equal(done.toSorted((a, b) => a.at - b.at || a.asked - b.asked));
    expect(scheduler.nowMs).to.equal(100);
  });

  it('stops at the given time and goes on later', () => {
    const scheduler = new Scheduler();
    const done: string[] = [];
    scheduler.after(5, () => scheduler.after(5, () => done.push('second')));
    runTo(scheduler, 9);
    expect(done).to.deep.equal([]);
    runTo(scheduler, 10);
    expect(done).to.deep.equal(['second']);
  });
});

describe('sim: clock', () => {
  const ticksOf = (rate: number, during: (clock: SimClock, scheduler: Scheduler) => void): number => {
    const scheduler = new Scheduler();
    const clock = new SimClock(scheduler, { rate });
    let ticks = 0;
    clock.every(100, () => ticks++);
    during(clock, scheduler);
    return ticks;
  };

  it('runs fast and slow', () => {
    expect(ticksOf(1, (_, scheduler) => runTo(scheduler, 10_001))).to.equal(100);
    expect(ticksOf(1.1, (_, scheduler) => runTo(scheduler, 10_001))).to.equal(110);
    expect(ticksOf(0.9, (_, scheduler) => runTo(scheduler, 10_001))).to.equal(90);
  });

  it('has the ticks of a jump due at once', () => {
    expect(
      ticksOf(1, (clock, scheduler) => {
        runTo(scheduler, 150);
        clock.jump(1000);
      }),
    ).to.equal(11);
  });

  it('is silent while stopped, and then catches up', () => {
    expect(
      ticksOf(1, (clock, scheduler) => {
        runTo(scheduler, 150);
        clock.stop();
        runTo(scheduler, 1050);
      }),
    ).to.equal(1);
    expect(
      ticksOf(1, (clock, scheduler) => {
        clock.stop();
        runTo(scheduler, 1050);
        clock.goOn();
        runTo(scheduler, 2050);
      }),
    ).to.equal(20);
  });

  it('ends with whoever asked for it', () => {
    const scheduler = new Scheduler();
    const clock = new SimClock(scheduler, { rate: 1 });
    let ticks = 0;
    const stop = clock.every(100, () => ticks++);
    runTo(scheduler, 250);
    stop();
    runTo(scheduler, 1000);
    expect(ticks).to.equal(2);
  });
});

describe('sim: network', () => {
  const sound = {
    latencyMs: [1, 10],
    dropChance: 0,
    duplicateChance: 0,
    detourChance: 0,
    detourMs: 100,
  } as const;

  /** What b gets of 1000 numbers that a sends, one per millisecond. */
  function arrivals(
    options: object,
    before: (network: SimNetwork<number>) => void = () => undefined,
  ): number[] {
    const scheduler = new Scheduler();
    const network = new SimNetwork<number>(scheduler, new SeededRandom(1), { ...sound, ...options });
    const got: number[] = [];
    network.attach('b', (from, packet) => {
      expect(from).to.equal('a');
      got.push(packet);
    });
    before(network);
    for (let packet = 0; packet < 1000; packet++) {
      runTo(scheduler, packet);
      network.send('a', 'b', packet);
    }
    runTo(scheduler, 5000);
    return got;
  }

  const distinct = (packets: number[]): number => new Set(packets).size;
  const lateness = (packets: number[]): number =>
    Math.max(...packets.map((packet, at) => Math.max(0, ...packets.slice(0, at)) - packet));

  it('delivers everything once, nearly in order', () => {
    const got = arrivals({});
    expect(got).to.have.length(1000);
    expect(distinct(got)).to.equal(1000);
    expect(lateness(got)).to.be.within(1, 10);
  });

  it('drops, doubles, and sends on detours', () => {
    expect(arrivals({ dropChance: 0.5 }).length).to.be.within(400, 600);
    const doubled = arrivals({ duplicateChance: 0.5 });
    expect(distinct(doubled)).to.equal(1000);
    expect(doubled.length).to.be.within(1400, 1600);
    expect(lateness(arrivals({ detourChance: 0.1 }))).to.be.greaterThan(20);
  });

  it('is cut in one direction, whatever the other does', () => {
    expect(arrivals({}, (network) => network.cut('a', 'b'))).to.deep.equal([]);
    expect(arrivals({}, (network) => network.cut('b', 'a'))).to.have.length(1000);
    const mended = (network: SimNetwork<number>): void => {
      network.cut('a', 'b');
      network.mendAll();
    };
    expect(arrivals({}, mended)).to.have.length(1000);
  });

  it('loses nothing once it is reliable', () => {
    const got = arrivals({ dropChance: 0.9, duplicateChance: 0.9 }, (network) => {
      network.isReliable = true;
    });
    expect(got).to.have.length(1000);
  });
});

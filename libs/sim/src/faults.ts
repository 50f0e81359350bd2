/** What goes wrong, one table: each fault strikes somebody and, where it lasts, ends by itself. */
import { emptyMembership, isJoint, type MemberId, membersOf } from '#libs/raft';
import type { Member } from './member.js';
import type { FaultWeights } from './options.js';
import type { World } from './world.js';

type Strike = (world: World, member: Member, faults: Faults) => void;

const strikes: Record<keyof FaultWeights, Strike> = {
  crash: (world, member) => world.crash(member, world.random.pick(['kill', 'power'])),
  crashInWrite(world, { disk }) {
    disk.crashAfterOperations = world.random.below(12);
  },
  crashAfterSend(world, member) {
    member.crashAfterSend = world.random.pick([
      'vote-response',
      'vote-response',
      'append-response',
      'read-request',
      'append-request',
    ]);
  },
  powerCut(world) {
    const up = [...world.members.values()].filter(({ isUp }) => isUp);
    const chance = world.random.pick([0.5, 1]);
    for (const member of up) if (world.random.chance(chance)) world.crash(member, 'power');
  },
  partition: (_, member, faults) => faults.separate([member.id]),
  cutNewLeader(world, _, faults) {
    faults.leadersToCut = world.random.pick([1, 4]);
  },
  cutOneWay(world, member, faults) {
    const others = [...world.members.keys()].filter((id) => id !== member.id);
    if (others.length === 0) return;
    const cut = world.random.chance(0.5) ? others : [world.random.pick(others)];
    const isOutgoing = world.random.chance(0.5);
    faults.cutLinks(cut.map((id) => (isOutgoing ? [member.id, id] : [id, member.id])));
  },
  pause(world, member) {
    member.pause();
    world.scheduler.after(world.drawFaultMs(200, 1500, 5000), () => member.resume());
  },
  clockJump(world, { clock }) {
    clock.jump(world.random.pick([300, 1000, 4000]));
  },
  diskStall(world, member) {
    member.diskStalledUntilMs = world.scheduler.nowMs + world.drawFaultMs(200, 1000, 4000);
  },
  diskFull(world, { disk }) {
    disk.capacityBytes = disk.usedBytes() + world.random.below(800);
    world.scheduler.after(world.drawFaultMs(500, 3000, 8000), () => {
      disk.capacityBytes = Number.POSITIVE_INFINITY;
    });
  },
  syncError(_, { disk }) {
    disk.failingSyncs = 1;
  },
  decay: (world, member) => decay(world, member),
  membership: (world, member) => world.operator.change(member),
  transfer: (world) => world.operator.transfer(),
};

/**
 * Nobody survives more bad disks at once than a minority has: the next one comes when the last one has been replaced.
 */
function decay(world: World, member: Member): void {
  const { membership } = world.membership;
  const ids = membersOf(membership);
  const isSomebodyBad = ids.some((id) => {
    const other = world.members.get(id);
    return other === undefined || other.isDamaged || other.isDecayed;
  });
  if (isSomebodyBad || isJoint(membership) || membership.voters.length < 3 || !ids.includes(member.id))
    return;
  if (!member.isUp || !isReplacementKnown(world, member)) return;
  world.crash(member, 'power');
  if (member.disk.flipBit() === undefined) return;
  member.isDecayed = true;
  world.counts.bitsFlipped++;
}

/**
 * Whoever does not know yet that a bad disk's member was replaced still needs a majority with it: where one disk more
 * takes the knowledge along, too many are lost at once.
 */
function isReplacementKnown(world: World, next: Member): boolean {
  const lost = [...world.members.values()].filter(({ isDamaged }) => isDamaged).map(({ id }) => id);
  return world.contacts().every((id) => {
    if (id === next.id) return true;
    const known = membersOf(world.members.get(id)?.process?.membership ?? emptyMembership);
    return lost.length === 0 || (known.length > 0 && !lost.some((each) => known.includes(each)));
  });
}

export class Faults {
  leadersToCut = 0;
  private isOver = false;
  private readonly names: (keyof FaultWeights)[];

  constructor(private readonly world: World) {
    const { faults } = world.options;
    const all = Object.keys(faults) as (keyof FaultWeights)[];
    this.names = all.flatMap((name) => Array.from({ length: faults[name] }, () => name));
  }

  start(): void {
    const { scheduler, random, options } = this.world;
    if (this.names.length === 0) return;
    scheduler.after(random.fraction() * 2 * options.faultEveryMs, () => {
      if (this.isOver) return;
      this.strike(random.pick(this.names));
      this.start();
    });
  }

  stop(): void {
    this.isOver = true;
    this.leadersToCut = 0;
  }

  repair(member: Member): void {
    const { disk } = member;
    member.crashAfterSend = undefined;
    disk.capacityBytes = Number.POSITIVE_INFINITY;
    disk.failingSyncs = 0;
    disk.crashAfterOperations = Number.POSITIVE_INFINITY;
    member.diskStalledUntilMs = 0;
    member.applyStalledUntilMs = 0;
    member.resume();
  }

  elected(id: MemberId): void {
    if (this.leadersToCut <= 0) return;
    this.leadersToCut--;
    const { random, scheduler } = this.world;
    // Before its first word is out, or a few words later.
    const cut = (): void => this.separate([id]);
    if (random.chance(0.5)) cut();
    else scheduler.after(random.below(random.pick([10, 100])), cut);
  }

  /** A cut between these with some others, and the rest. */
  separate(some: readonly MemberId[]): void {
    const { members, random } = this.world;
    const ids = [...members.keys()];
    const share = random.pick([0, 0.2, 0.5]);
    const side = new Set(ids.filter((id) => some.includes(id) || random.chance(share)));
    this.cutLinks(
      ids.flatMap((a) => ids.flatMap((b) => (side.has(a) === side.has(b) ? [] : [[a, b] as const]))),
    );
  }

  cutLinks(links: readonly (readonly [string, string])[]): void {
    const { network, scheduler } = this.world;
    for (const [from, to] of links) {
      network.cut(from, to);
      this.world.linkBroke(from, to);
    }
    scheduler.after(this.world.drawFaultMs(300, 2000, 6000), () => {
      for (const [from, to] of links) network.mend(from, to);
    });
  }

  private strike(name: keyof FaultWeights): void {
    const candidates = [...this.world.members.values()].filter(
      ({ isGone, isDamaged }) => !isGone && !isDamaged,
    );
    const { random } = this.world;
    // What happens to a leader matters most.
    const leader = candidates.filter(({ process }) => process?.isLeader);
    const member = random.pick(leader.length > 0 && random.chance(0.4) ? leader : candidates);
    this.world.tell(() => `fault: ${name} at ${member.id}`);
    strikes[name](this.world, member, this);
  }
}

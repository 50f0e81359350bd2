/** Whoever runs the group: changes its membership, hands over leadership, replaces what is broken. */
import {
  isJoint,
  type MemberId,
  type MembershipChange,
  type MembershipTransition,
  membersOf,
} from '#libs/raft';
import type { Member } from './member.js';
import type { Process } from './process.js';
import type { World } from './world.js';

const votersMin = 3;
const membersMax = 8;
const lookEveryMs = 700;
/** Longer than anything takes when the leader that was asked lives on. */
const patienceMs = 6000;

export class Operator {
  private isAsking = false;

  constructor(private readonly world: World) {}

  start(): void {
    this.world.scheduler.after(lookEveryMs, () => {
      this.mendGroup();
      this.start();
    });
  }

  /** A member whose disk was refused is to be replaced, a joint phase to be ended. */
  hasWork(): boolean {
    return this.damagedMember() !== undefined || isJoint(this.world.membership.membership);
  }

  transfer(): void {
    const leader = this.world.leader();
    const others = this.voters().filter((id) => id !== leader?.id);
    if (leader === undefined || others.length === 0) return;
    leader.transfer(this.world.random.pick(others), (outcome) => {
      if (outcome === 'stepped-down') this.world.counts.transfers++;
    });
  }

  /** Draws a change and asks the leader for it; sometimes whoever thinks he leads, and while another is under way. */
  change(at: Member): void {
    const { random } = this.world;
    const isHasty = random.chance(0.3);
    if (!isHasty && (this.isAsking || isJoint(this.world.membership.membership))) return;
    const leader = isHasty && at.process?.isLeader ? at.process : this.world.leader();
    const changes = this.draw();
    const transition = random.pick(['auto', 'auto', 'joint', 'joint-until-left'] as const);
    if (leader === undefined || changes.length === 0) return;
    const outgoing = changes.flatMap(({ kind, id }) => (kind === 'remove' ? [id] : []));
    this.ask(leader, changes, transition);
    // The old majority on its own, just when the new one takes over.
    if (outgoing.length > 0 && random.chance(0.4)) this.world.separate(outgoing);
  }

  private voters(): readonly MemberId[] {
    return this.world.membership.membership.voters;
  }

  private damagedMember(): MemberId | undefined {
    return membersOf(this.world.membership.membership).find((id) => this.world.members.get(id)?.isDamaged);
  }

  private mendGroup(): void {
    if (this.isAsking) return;
    const { membership } = this.world.membership;
    if (isJoint(membership)) {
      if (!membership.autoLeave) this.leaveJoint();
      return;
    }
    const damaged = this.damagedMember();
    if (damaged === undefined) return;
    const isVoter = membership.voters.includes(damaged);
    const leader = this.world.leader();
    if (leader === undefined) return;
    this.ask(
      leader,
      [{ kind: 'remove', id: damaged }, ...(isVoter ? [this.addition('add-voter')] : [])],
      'auto',
    );
  }

  private draw(): MembershipChange[] {
    const { world } = this;
    const { random } = world;
    const { voters, learners } = world.membership.membership;
    const size = voters.length + learners.length;
    const canLose = voters.length > votersMin;
    switch (random.below(9)) {
      case 0:
        return size < membersMax ? [this.addition('add-voter')] : [];
      case 1:
        return size < membersMax ? [this.addition('add-learner')] : [];
      case 2:
        return learners.length > 0 ? [{ kind: 'add-voter', id: random.pick(learners) }] : [];
      case 3:
        return canLose ? [{ kind: 'remove', id: random.pick(voters) }] : [];
      case 4:
        return canLose ? [{ kind: 'add-learner', id: random.pick(voters) }] : [];
      case 5:
        return learners.length > 0 ? [{ kind: 'remove', id: random.pick(learners) }] : [];
      default: {
        // Some out and as many in, at once.
        const out = voters.filter(() => random.chance(0.4)).slice(0, membersMax - size);
        return out.flatMap((id) => [{ kind: 'remove', id }, this.addition('add-voter')] as const);
      }
    }
  }

  private addition(kind: 'add-voter' | 'add-learner'): MembershipChange {
    return { kind, id: this.world.newMember().id };
  }

  private ask(leader: Process, changes: readonly MembershipChange[], transition: MembershipTransition): void {
    const added = changes.filter(({ kind, id }) => kind !== 'remove' && this.isNew(id));
    for (const { id } of added) {
      const member = this.world.members.get(id);
      if (member !== undefined) this.world.start(member);
    }
    this.wait((done) =>
      leader.changeMembership(changes, transition, (outcome) => {
        // Whoever was refused was never part of the group. What was replaced may have reached others: nobody knows.
        if (outcome !== 'done' && outcome !== 'replaced') this.drop(added);
        done();
      }),
    );
  }

  private leaveJoint(): void {
    const leader = this.world.leader();
    if (leader !== undefined) this.wait((done) => leader.leaveJoint(done));
  }

  private wait(ask: (done: () => void) => void): void {
    this.isAsking = true;
    let isOver = false;
    const done = (): void => {
      if (isOver) return;
      isOver = true;
      this.isAsking = false;
    };
    this.world.scheduler.after(patienceMs, done);
    ask(done);
  }

  private isNew(id: MemberId): boolean {
    return this.world.members.get(id)?.starts === 0;
  }

  private drop(added: readonly MembershipChange[]): void {
    for (const { id } of added) {
      const member = this.world.members.get(id);
      if (member !== undefined) this.world.switchOff(member);
      this.world.members.delete(id);
    }
  }
}

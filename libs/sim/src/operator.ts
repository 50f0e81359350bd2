/** Whoever runs the group: changes its membership, hands over leadership, replaces what is broken. */
import {
  isJoint,
  type MemberId,
  type Membership,
  type MembershipChange,
  type MembershipTransition,
  membersOf,
} from '#libs/raft';
import type { Member } from './member.js';
import type { MemberProcess } from './member-process.js';
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
    // It may be the last to learn that another leads.
    if (this.world.random.chance(0.5)) this.world.deafen(leader.id);
  }

  /** Draws a change and asks the leader for it; sometimes whoever thinks he leads, and while another is under way. */
  change(at: Member): void {
    const { random } = this.world;
    const isHasty = random.chance(0.3);
    if (!isHasty && (this.isAsking || isJoint(this.world.membership.membership))) return;
    const leader = isHasty && at.process?.isLeader ? at.process : this.world.leader();
    const changes = this.draw(leader?.id);
    const transition = random.pick(['auto', 'auto', 'joint', 'joint-until-left'] as const);
    if (leader === undefined || changes.length === 0) return;
    this.ask(leader, changes, transition);
    // The leader alone with those who have no vote.
    const { learners } = this.world.membership.membership;
    if (learners.length > 0 && random.chance(0.3)) this.world.separate([leader.id, ...learners]);
  }

  /** The first member has applied it: maybe the old majority is on its own just then. */
  changed({ voters, outgoing }: Membership): void {
    const leaving = outgoing.filter((id) => !voters.includes(id));
    if (leaving.length > 0 && this.world.random.chance(0.5)) this.world.separate(leaving);
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

  private draw(leader: MemberId | undefined): MembershipChange[] {
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
        // Some out and as many in, at once: often most of them, and the leader stays.
        const share = random.pick([0.3, 0.8]);
        const out = voters.filter((id) => id !== leader && random.chance(share)).slice(0, membersMax - size);
        return out.flatMap((id) => [{ kind: 'remove', id }, this.addition('add-voter')] as const);
      }
    }
  }

  private addition(kind: 'add-voter' | 'add-learner'): MembershipChange {
    return { kind, id: this.world.newMember().id };
  }

  private ask(
    leader: MemberProcess,
    changes: readonly MembershipChange[],
    transition: MembershipTransition,
  ): void {
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

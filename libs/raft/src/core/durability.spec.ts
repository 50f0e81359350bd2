import { expect } from 'chai';
import { Durability } from './durability.js';
import { CoreLog } from './log.js';
import { soundRules } from './rules.js';
import { entry, logOf } from './testing/lone-core.js';
import type { Entry, MemberId } from './types.js';

/** Entries 1 and 2 of term 1 are on the disk. */
class Member {
  private readonly log = new CoreLog(undefined, logOf(1, 1));
  readonly disk = new Durability(this.log, soundRules, { term: 1, commit: 0 });

  /** Returns the number of the write, which is under way from now on. */
  write(entries: Entry[], votedFor?: MemberId): number {
    const end = this.log.lastIndex;
    const kept = this.log.append(entries);
    if (kept < end) this.disk.cut(kept);
    this.disk.write({ term: 2, ...(votedFor === undefined ? {} : { votedFor }), commit: 0 }, entries);
    return this.disk.sequence;
  }
}

describe('raft: durability', () => {
  it('begins with what the disk held', () => {
    const { disk } = new Member();
    expect([disk.index, disk.sequence, disk.vote]).to.deep.equal([2, 0, { term: 1, votedFor: undefined }]);
  });

  it('grows with each write that is done, also with several at once', () => {
    const member = new Member();
    const writes = [[entry(3, 1)], [entry(4, 1), entry(5, 1)], [entry(6, 1)]].map((each) =>
      member.write(each),
    );
    const seen = [member.disk.index];
    member.disk.done(writes[0] as number);
    seen.push(member.disk.index);
    member.disk.done(writes[2] as number);
    seen.push(member.disk.index);
    expect(seen).to.deep.equal([2, 3, 6]);
  });

  it('counts a vote from when its write is done', () => {
    const member = new Member();
    const write = member.write([], 'm2');
    expect(member.disk.vote).to.deep.equal({ term: 1, votedFor: undefined });
    member.disk.done(write);
    expect(member.disk.vote).to.deep.equal({ term: 2, votedFor: 'm2' });
  });

  it('shrinks at once when durable entries are replaced, and grows with the write that replaces them', () => {
    const member = new Member();
    const write = member.write([entry(2, 2), entry(3, 2)]);
    expect(member.disk.index).to.equal(1);
    member.disk.done(write);
    expect(member.disk.index).to.equal(3);
  });

  it('lets a write vouch only for those of its entries that are still in the log', () => {
    const member = new Member();
    const old = member.write([entry(3, 1), entry(4, 1), entry(5, 1)]);
    const replacing = member.write([entry(4, 2)]);
    // Put back to what they were: still not what the old write put there, as far as the disk will show in the end.
    const again = member.write([entry(4, 1), entry(5, 1), entry(6, 1)]);
    const seen = [old, replacing, again].map((write) => {
      member.disk.done(write);
      return member.disk.index;
    });
    expect(seen).to.deep.equal([3, 3, 6]);
  });
});

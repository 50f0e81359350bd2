import { expect } from 'chai';
import { unwrapProposal, wrapProposal } from './envelope.js';
import { SessionTable, sessionsMax } from './session-table.js';

const header = (session: number, sequence: number, more: { bornAt?: number; settled?: number } = {}) => ({
  session,
  sequence,
  bornAt: 0,
  settled: 0,
  ...more,
});

describe('raft: sessions', () => {
  it('write a proposal down and read it again; other bytes are no proposal', () => {
    const data = Buffer.from('data');
    const written = header(2 ** 48 - 1, 2 ** 40, { bornAt: 7, settled: 2 ** 33 });
    const entry = wrapProposal(written, data);
    expect(unwrapProposal(entry)).to.deep.equal({ header: written, data });
    expect(unwrapProposal(entry.subarray(0, 24))).to.equal(undefined);
    expect(unwrapProposal(Buffer.alloc(40, 9))).to.equal(undefined);
  });

  it('let each proposal pass once, in any order', () => {
    const table = new SessionTable();
    const verdicts = [3, 1, 3, 2, 1, 2].map((sequence, i) => table.take(header(5, sequence), i + 1));
    expect(verdicts).to.deep.equal(['first', 'first', 'repeated', 'first', 'repeated', 'repeated']);
    expect(table.take(header(6, 1), 7)).to.equal('first');
  });

  it('forget what is settled, and still know it', () => {
    const table = new SessionTable();
    for (let sequence = 1; sequence <= 1_000; sequence++) {
      table.take(header(5, sequence, { settled: sequence - 1 }), sequence);
    }
    expect(table.encode().length).to.be.lessThan(100);
    expect(table.take(header(5, 17), 1_001)).to.equal('repeated');
    // Given up by its proposer before it came.
    table.take(header(5, 2_000, { settled: 1_999 }), 1_002);
    expect(table.take(header(5, 1_500), 1_003)).to.equal('repeated');
  });

  it('are bounded: the one used longest ago goes, and its old proposals pass no more', () => {
    const table = new SessionTable();
    for (let i = 1; i <= sessionsMax; i++) table.take(header(i, 1), i);
    table.take(header(1, 2), sessionsMax + 1);
    // One too many: session 2 goes.
    const late = sessionsMax + 2;
    expect(table.take(header(9_999, 1, { bornAt: late - 1 }), late)).to.equal('first');
    expect(table.take(header(2, 1), late + 1)).to.equal('expired');
    expect(table.outcomeOf(header(2, 1))).to.equal('unknown');
    expect(table.take(header(1, 3), late + 2)).to.equal('first');
    expect(table.outcomeOf(header(1, 3))).to.equal('applied');
    expect(table.outcomeOf(header(1, 4))).to.equal('open');
    // A new run of the same member that has seen all this is welcome.
    expect(table.take(header(2, 1, { bornAt: late }), late + 3)).to.equal('first');
  });

  it('come back from a snapshot to the last bit', () => {
    const table = new SessionTable();
    for (let i = 1; i <= sessionsMax + 20; i++) table.take(header(i, (i * 7) % 5), i);
    const again = SessionTable.decode(table.encode());
    expect(Buffer.from(again.encode()).equals(Buffer.from(table.encode()))).to.equal(true);
    for (const each of [header(3, 1), header(500, 0), header(600, 9)]) {
      expect(again.take(each, 5_000)).to.equal(table.take(each, 5_000));
    }
  });
});

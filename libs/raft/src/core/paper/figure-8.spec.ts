/** Figure 8 of the Raft paper: why a leader may not decide by counting that an entry of an earlier term is committed. */
import { expect } from 'chai';
import { LoneCore, logOf, noop } from '../testing/lone-core.js';
import { rule } from '../testing/rule.js';
import type { Rules } from '../rules.js';

const voters = ['s1', 's2', 's3', 's4', 's5'];
const old = logOf(1, 2);

/** (c): S1 leads term 4, and its entry 2, of term 2, has just come to a majority. S3 and S2 hold it too. */
function momentC(rules: Rules): LoneCore {
  const s1 = new LoneCore({ id: 's1', membership: { voters }, term: 3, log: old }, rules);
  s1.becomeLeader();
  s1.ack('s2', 2);
  s1.ack('s3', 2);
  return s1;
}

/** S5 led term 3 and has an entry of it at index 2. */
function s5Asks(voter: LoneCore): boolean {
  const [last] = voter
    .receive('s5', { kind: 'vote-request', force: false, term: 5, lastIndex: 2, lastTerm: 3 })
    .slice(-1);
  return last?.kind === 'send' && last.message.kind === 'vote-response' && last.message.granted;
}

describe('raft: paper, figure 8', () => {
  rule(
    '(c) an entry of an earlier term on a majority is not committed',
    (rules) => {
      expect(momentC(rules).state).to.deep.equal({ role: 'leader', term: 4, commit: 0, log: '1/1 2/2 3/4' });
    },
    'commit-old-term-by-counting',
  );

  rule('(d) because S5 can still win with the votes of those who hold it, and replace it', (rules) => {
    const s3 = new LoneCore({ id: 's3', membership: { voters }, term: 4, log: old }, rules);
    expect(s5Asks(s3)).to.equal(true);
    s3.receive('s5', {
      kind: 'append-request',
      term: 5,
      prevIndex: 1,
      prevTerm: 1,
      entries: [{ index: 2, term: 3, kind: 'data', data: Buffer.from('s5') }, noop(3, 5)],
      commit: 3,
    });
    expect(s3.state).to.deep.equal({ role: 'follower', term: 5, commit: 3, log: '1/1 2/3 3/5' });
  });

  rule(
    '(e) once an entry of its own term is on a majority both are committed, and S5 cannot win',
    (rules) => {
      const s1 = momentC(rules);
      s1.ack('s2', 3);
      s1.ack('s3', 3);
      expect(s1.core.status().commit).to.equal(3);
      const holder = new LoneCore(
        { id: 's3', membership: { voters }, term: 4, log: [...old, noop(3, 4)] },
        rules,
      );
      expect(s5Asks(holder)).to.equal(false);
    },
    'vote-for-shorter-log',
  );
});

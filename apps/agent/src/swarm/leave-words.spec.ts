import { expect } from 'chai';
import { leaveWarning, type ManagerCounts } from './leave-words.js';

describe('warning before a manager leaves', () => {
  const cases: [ManagerCounts | undefined, string][] = [
    [undefined, 'Doing so may lose the consensus of your cluster.'],
    [{ reachable: 1, unreachable: 0 }, 'Removing the last manager erases all current state of the swarm.'],
    [{ reachable: 2, unreachable: 0 }, 'leaves 1 managers out of 2. Without a Raft quorum'],
    [{ reachable: 2, unreachable: 1 }, 'leaves 1 managers out of 3. Without a Raft quorum'],
    [{ reachable: 3, unreachable: 0 }, 'participating as a manager. The only way to restore'],
    [{ reachable: 5, unreachable: 0 }, 'participating as a manager. The only way to restore'],
    [{ reachable: 3, unreachable: 2 }, 'leaves 2 managers out of 5.'],
  ];
  for (const [counts, words] of cases) {
    it(counts ? `${counts.reachable} reachable, ${counts.unreachable} not` : 'nobody can tell', () => {
      expect(leaveWarning(counts)).to.contain(words).and.to.contain('--force');
    });
  }
});

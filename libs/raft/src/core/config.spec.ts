import { expect } from 'chai';
import { LoneCore } from './testing/lone-core.js';
import type { CoreConfig } from './types.js';

describe('raft: configuration of the core', () => {
  for (const [config, rule] of [
    [{ id: '' }, 'id must not be empty'],
    [{ heartbeatTicks: 0 }, 'heartbeatTicks must be a whole number from 1 on'],
    [
      { electionTicks: 3, heartbeatTicks: 3 },
      'electionTicks must be a whole number and larger than heartbeatTicks',
    ],
    [{ electionTicks: 3.5 }, 'electionTicks must be a whole number and larger than heartbeatTicks'],
    [{ appendEntriesMax: 0 }, 'appendEntriesMax must be a whole number from 1 on'],
    [{ appendBytesMax: -1 }, 'appendBytesMax must be a whole number from 1 on'],
    [{ inflightAppendsMax: 0 }, 'inflightAppendsMax must be a whole number from 1 on'],
    [{ inflightBytesMax: Number.NaN }, 'inflightBytesMax must be a whole number from 1 on'],
    [{ uncommittedBytesMax: 0 }, 'uncommittedBytesMax must be a whole number from 1 on'],
    [{ applyingBytesMax: Number.POSITIVE_INFINITY }, 'applyingBytesMax must be a whole number from 1 on'],
    [{ readLease: { clockDriftMax: 0.5 } }, 'readLease.clockDriftMax must be in [0, 0.5)'],
  ] as [Partial<CoreConfig>, string][]) {
    it(`is refused: ${rule}`, () => {
      expect(() => new LoneCore({ config })).to.throw(RangeError, `raft: ${rule}`);
    });
  }
});

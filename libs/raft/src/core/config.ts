/** What must hold of a configuration. A wrong one would not fail at once, but stall or never elect anybody. */
import type { CoreConfig } from './types.js';

/** Throws with the name of the option and the rule that it breaks. */
export function checkConfig(config: CoreConfig): void {
  const broken = requirements.find(([, holds]) => !holds(config));
  if (broken !== undefined) throw new RangeError(`raft: ${broken[0]}`);
}

const isCount = (value: number): boolean => Number.isInteger(value) && value >= 1;

const requirements: [rule: string, holds: (config: CoreConfig) => boolean][] = [
  ['id must not be empty', ({ id }) => id !== ''],
  ['heartbeatTicks must be a whole number from 1 on', ({ heartbeatTicks }) => isCount(heartbeatTicks)],
  [
    'electionTicks must be a whole number and larger than heartbeatTicks',
    ({ electionTicks, heartbeatTicks }) => isCount(electionTicks) && electionTicks > heartbeatTicks,
  ],
  ...(
    [
      'appendEntriesMax',
      'appendBytesMax',
      'inflightAppendsMax',
      'inflightBytesMax',
      'uncommittedBytesMax',
      'applyingBytesMax',
    ] as const
  ).map((name): [string, (config: CoreConfig) => boolean] => [
    `${name} must be a whole number from 1 on`,
    (config) => isCount(config[name]),
  ]),
  [
    'readLease.clockDriftMax must be in [0, 0.5)',
    ({ readLease }) =>
      readLease === undefined || (readLease.clockDriftMax >= 0 && readLease.clockDriftMax < 0.5),
  ],
];

/** `npm run bench -- NAME...`: figures, always beside a peer in the same run. */
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { benchBuild } from './build.js';
import { benchContainers } from './containers.js';
import { benchFailover } from './failover.js';
import { benchPull } from './pull.js';
import { benchRaft } from './raft/bench.js';
import { benchRaftRestart } from './raft/restart.js';
import { benchStart } from './start.js';

const isQuick = process.argv.includes('--quick');
const benches: Record<string, () => Promise<void>> = {
  start: benchStart,
  containers: benchContainers,
  failover: benchFailover,
  'raft-restart': benchRaftRestart,
  raft: () => benchRaft(isQuick),
  pull: benchPull,
  build: benchBuild,
};

process.env.PATH = `${join(fileURLToPath(new URL('../../..', import.meta.url)), 'build/tools/bin')}${delimiter}${process.env.PATH}${delimiter}/usr/sbin:/sbin`;
const names = process.argv.slice(2).filter((argument) => argument !== '--quick');
if (names.length === 0 || names.some((name) => !(name in benches))) {
  console.error(`usage: npm run bench -- ${Object.keys(benches).join(' | ')} [--quick]`);
  process.exit(2);
}
for (const name of names) await benches[name]?.();

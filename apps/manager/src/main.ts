/** `node manager.js --config <file>`: the manager process of one node. The node's agent starts and restarts it. */
import 'reflect-metadata';
import { createLog } from '#libs/log';
import {
  describeError,
  EnxameError,
  isEnxameError,
  managerFailureFile,
  type ManagerFailure,
  type NodeConfig,
} from '#libs/model';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { openStorageKeys } from './lock/index.js';
import { Manager } from './manager.js';

const stopWaitMs = 8_000;
const failureCharactersMax = 2_000;

function readConfig(): NodeConfig {
  const { values } = parseArgs({ options: { config: { type: 'string' } } });
  if (values.config === undefined)
    throw new EnxameError('invalid-argument', 'usage: manager.js --config <file>');
  // The agent has checked the same file field by field before it started this process.
  return JSON.parse(readFileSync(values.config, 'utf8')) as NodeConfig;
}

/** For the agent, which answers in this process's place while there is none. */
function leaveFailure(config: NodeConfig, error: unknown): void {
  const failure: ManagerFailure = {
    code: isEnxameError(error) ? error.code : 'internal',
    message: describeError(error).slice(0, failureCharactersMax),
  };
  writeFileSync(managerFailureFile(config), JSON.stringify(failure));
}

async function main(): Promise<void> {
  const config = readConfig();
  const log = createLog('manager', config);
  const fail = (error: unknown): void => {
    log('error', 'the manager cannot go on', { error });
    leaveFailure(config, error);
    process.exit(1);
  };
  process.on('unhandledRejection', fail);
  process.on('uncaughtException', fail);
  const manager = new Manager(config, await openStorageKeys(config, log), log, fail);
  const stop = (signal: string): void => {
    log('info', 'stopping', { signal });
    setTimeout(() => process.exit(1), stopWaitMs).unref();
    manager.stop().then(() => process.exit(0), fail);
  };
  process.once('SIGTERM', () => stop('SIGTERM'));
  process.once('SIGINT', () => stop('SIGINT'));
  await manager.start().catch(fail);
  rmSync(managerFailureFile(config), { force: true });
}

main().catch((error: unknown) => {
  process.stderr.write(`${describeError(error)}\n`);
  process.exit(1);
});

/**
 * `node agent.js --config <file>`: the daemon of one node. The launcher is started first, while this process is
 * small: a fork copies the page tables of what is there (1 ms at 55 MB, 83 ms at 900 MB). Runs as a bundle, beside
 * the other programs.
 */
import { createLog, sourcePositions } from '#libs/log';
import { describeError, EnxameError } from '#libs/model';
import { createContainerRuntime } from '#libs/runtime';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { readNodeConfig } from './node/config-file.js';

const launcherPath = fileURLToPath(
  new URL('../../libs/runtime/native/build/enxame-launcher', import.meta.url),
);
const managerMain = fileURLToPath(new URL('./manager.js', import.meta.url));
const exitWaitMs = 15_000;
const sessionWaitMs = 3_000;

async function main(): Promise<void> {
  const { values } = parseArgs({ options: { config: { type: 'string' } } });
  if (values.config === undefined) {
    throw new EnxameError('invalid-argument', 'usage: agent.js --config <file>');
  }
  const config = readNodeConfig(values.config);
  const log = createLog('agent', config);
  const clock = {
    nowMs: () => Date.now(),
    setTimeout: (callback: () => void, delayMs: number) => {
      const timer = setTimeout(callback, delayMs);
      return () => clearTimeout(timer);
    },
  };
  const failed = (error: unknown, what: string): void => log('warn', what, { error });
  const runtime = createContainerRuntime({
    stateDir: config.stateDir,
    runDir: config.runDir,
    cgroupParent: config.cgroupParent,
    launcherPath,
    clock,
    log: failed,
  });
  await runtime.start();
  const { createAgent } = await import('./parts.js');
  const agent = createAgent({
    config,
    managerMain,
    runtime,
    nowMs: clock.nowMs,
    log,
    failed,
  });
  let application: { close(): Promise<void> } = { close: () => agent.stop() };
  const stop = (signal: string): void => {
    log('info', 'told to stop', { signal });
    setTimeout(() => process.exit(1), exitWaitMs).unref();
    application.close().catch((error: unknown) => {
      log('error', 'stopping failed', { error });
      process.exit(1);
    });
  };
  process.once('SIGTERM', () => stop('SIGTERM'));
  process.once('SIGINT', () => stop('SIGINT'));
  const fail = (error: unknown): void => {
    log('error', 'the agent cannot go on', { error });
    process.exit(1);
  };
  process.on('unhandledRejection', fail);
  process.on('uncaughtException', fail);
  await agent.start();
  // Loading the framework takes as long as all before it: the node is back in its cluster by then.
  await agent.firstSession(sessionWaitMs);
  const { createApplication } = await import('./agent.module.js');
  application = await createApplication(agent);
}

main().catch((error: unknown) => {
  process.stderr.write(
    `${error instanceof Error && error.stack ? sourcePositions(error.stack) : describeError(error)}\n`,
  );
  process.exit(1);
});

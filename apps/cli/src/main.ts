#!/usr/bin/env node
/** `enxame`: what the docker CLI has no word for. */
import { Command, InvalidArgumentError } from 'commander';
import { sourcePositions } from '#libs/log';
import { isEnxameError } from '#libs/model';
import { backup } from './cluster/backup.js';
import { restore } from './cluster/restore.js';
import { deployDemo } from './demo.js';
import { down } from './dev/down.js';
import { list } from './dev/list.js';
import type { Supervisor } from './dev/supervisor.js';
import { up } from './dev/up.js';
import { inspect } from './raft/inspect.js';
import { printBareScreen, printScreen } from './screen.js';
import { UserError } from './user-error.js';

function wholeNumber(text: string): number {
  if (!/^\d{1,6}$/.test(text)) throw new InvalidArgumentError('must be a whole number');
  return Number(text);
}

const program = new Command('enxame').description('A Swarm-style cluster that speaks the Docker API.');

program
  .command('start')
  .description('start the cluster "dev" (1 manager, 2 workers) with the demo service')
  .option('-d, --detach', 'return when all is up', false)
  .option('--telemetry <url>', 'keep events and stats in Redis: redis://host:port')
  .action((options: { detach: boolean; telemetry?: string }) =>
    up({
      name: 'dev',
      managers: 1,
      workers: 2,
      heartbeatMs: 1000,
      ...options,
      afterReady: async (supervisor) => {
        await deployDemo(supervisor.layout.nodes[0]!.config.apiSocket);
        await show(supervisor, true);
      },
    }),
  );

const dev = program.command('dev').description('clusters of several nodes on this machine');

dev
  .command('up')
  .description('start a cluster')
  .option('--name <name>', 'its name', 'dev')
  .option('--managers <count>', 'manager nodes', wholeNumber, 1)
  .option('--workers <count>', 'worker nodes', wholeNumber, 2)
  .option('--heartbeat-ms <period>', 'heartbeat period of the nodes', wholeNumber, 1000)
  .option('--telemetry <url>', 'keep events and stats in Redis: redis://host:port')
  .option('--bare', 'no cluster yet: bring the nodes together with docker swarm init and join', false)
  .option('--demo', 'deploy the demo service', false)
  .option('-d, --detach', 'return when all is up', false)
  .action(
    (options: {
      name: string;
      managers: number;
      workers: number;
      heartbeatMs: number;
      telemetry?: string;
      bare: boolean;
      demo: boolean;
      detach: boolean;
    }) =>
      up({
        ...options,
        afterReady: async (supervisor) => {
          if (options.bare) return printBareScreen(supervisor.layout);
          if (options.demo) await deployDemo(supervisor.layout.nodes[0]!.config.apiSocket);
          await show(supervisor, options.demo);
        },
      }),
  );

dev
  .command('down')
  .description('stop a cluster')
  .option('--name <name>', 'its name', 'dev')
  .option('--purge', 'forget its state, too', false)
  .action(down);

dev.command('ls').description('list the clusters of this machine').action(list);

const cluster = program.command('cluster').description('backup and restore of a cluster');

cluster
  .command('backup')
  .description('write the state of a running cluster, its keys included, to standard output')
  .option('--manager-socket <path>', "a manager's private socket", '/run/enxame/dev/node-1/manager.sock')
  .option('--output <file>', 'write to this file, readable by its owner alone')
  .action(backup);

cluster
  .command('restore <file>')
  .description('make the empty state folder of a node that of the only manager of the cluster in a backup')
  .requiredOption('--state-dir <folder>', 'the state folder, with its config.json')
  .action(restore);

program
  .command('raft')
  .description('the log of a manager')
  .command('inspect <folder>')
  .description("what a manager's data folder holds; it may be in use")
  .option('--key <file>', 'its storage keys (storage-keys.json beside the folder when not given)')
  .option('--entries [from-to]', 'print the entries, too')
  .option('--json', 'as JSON', false)
  .action(inspect);

function show(supervisor: Supervisor, demo: boolean): Promise<void> {
  return printScreen(supervisor.layout, { demo, foreground: process.env.ENXAME_DETACHED !== '1' });
}

try {
  await program.parseAsync();
} catch (error) {
  if (error instanceof UserError || isEnxameError(error)) console.error(`enxame: ${error.message}`);
  else
    console.error(
      `enxame: ${error instanceof Error ? sourcePositions(error.stack ?? error.message) : String(error)}`,
    );
  process.exit(1);
}

/**
 * A node network in a process of its own, told what to do by JSON lines on its standard input: kernel objects belong
 * to the namespace of the process that makes them, so a test with several nodes needs several processes.
 */
import { createInterface } from 'node:readline';
import { describeError } from '#libs/model';
import type { TaskNetwork } from '#libs/model';
import type { NetworkProgram, NodeNetworkOptions } from '../port.js';
import { createNodeNetwork } from './node-network.js';

export type NetworkCommand =
  | { verb: 'apply'; program: NetworkProgram }
  | { verb: 'withdraw'; taskId: string }
  | { verb: 'activeConnections'; address: string; idleMs: number }
  | { verb: 'interfacesFor'; containerId: string; networks: TaskNetwork[] }
  | { verb: 'localInterface'; containerId: string; taken: string[] }
  | { verb: 'destroy' };

export type NetworkReply = { value: unknown } | { error: string };

async function main(options: NodeNetworkOptions): Promise<void> {
  const network = createNodeNetwork(options);
  await network.start();
  const run = (command: NetworkCommand): unknown => {
    switch (command.verb) {
      case 'apply':
        return network.apply(command.program);
      case 'withdraw':
        return network.withdraw(command.taskId);
      case 'activeConnections':
        return network.activeConnections(command.address, command.idleMs);
      case 'interfacesFor':
        return network.interfacesFor(command);
      case 'localInterface':
        return network.localInterface({ ...command, taken: new Set(command.taken) });
      case 'destroy':
        return network.destroy();
    }
  };
  process.stdout.write(`${JSON.stringify({ value: 'started' } satisfies NetworkReply)}\n`);
  for await (const line of createInterface({ input: process.stdin })) {
    let reply: NetworkReply;
    try {
      reply = { value: (await run(JSON.parse(line) as NetworkCommand)) ?? null };
    } catch (error) {
      reply = { error: describeError(error) };
    }
    process.stdout.write(`${JSON.stringify(reply)}\n`);
  }
}

await main(JSON.parse(process.argv[2] ?? '{}') as NodeNetworkOptions);

/** The short screen a started cluster ends on. */
import { demoPort } from './demo.js';
import { readEngine } from './dev/engine-client.js';
import type { DevLayout } from './dev/layout.js';
import { readyMark } from './dev/up.js';

interface NodeAnswer {
  ID: string;
  Description: { Hostname: string };
  Status: { State: string; Addr: string };
  ManagerStatus?: { Leader?: boolean };
}

interface TaskAnswer {
  Slot: number;
  NodeID: string;
  DesiredState: string;
  Status: { State: string };
}

export async function printScreen(
  layout: DevLayout,
  options: { demo: boolean; foreground: boolean },
): Promise<void> {
  const socketPath = layout.nodes[0]!.config.apiSocket;
  const nodes = await readEngine<NodeAnswer[]>(socketPath, '/nodes');
  nodes.sort((a, b) => a.Description.Hostname.localeCompare(b.Description.Hostname, 'en', { numeric: true }));
  console.log(`\nCluster "${layout.name}" is up.\n\nNodes`);
  for (const node of nodes) {
    const role = node.ManagerStatus ? (node.ManagerStatus.Leader ? 'manager, leader' : 'manager') : 'worker';
    console.log(
      `  ${node.Description.Hostname.padEnd(10)} ${node.Status.State.padEnd(6)} ${node.Status.Addr.padEnd(14)} ${role}`,
    );
  }
  if (options.demo) await printDemo(socketPath, nodes);
  console.log(`\nTalk to it with the docker CLI\n  export DOCKER_HOST=unix://${socketPath}\n`);
  const tries = options.demo
    ? [
        ['docker service ps demo', 'where the replicas run'],
        ['docker service scale demo=10', 'seven more, spread over the nodes'],
        ['docker service update --image enxame/demo:2 demo', 'a rolling update without a dropped request'],
      ]
    : [
        ['docker node ls', 'the nodes'],
        ['docker load -i IMAGE.tar', 'an image for all nodes'],
        ['docker service create --name web --publish 8080:80 IMAGE', 'a service'],
      ];
  console.log('Try next');
  for (const [command, meaning] of tries) console.log(`  ${command!.padEnd(58)} # ${meaning}`);
  const stop = layout.name === 'dev' ? 'npm stop' : `npx enxame dev down --name ${layout.name}`;
  console.log(`\n${readyMark} ${options.foreground ? 'Ctrl-C, or ' : ''}${stop}`);
}

/** Nodes that belong to no cluster yet. */
export function printBareScreen(layout: DevLayout): void {
  console.log(`\nThe nodes of "${layout.name}" are up and belong to no cluster.\n\nNodes`);
  for (const { name, address, config } of layout.nodes) {
    console.log(`  ${name.padEnd(10)} ${address.padEnd(14)} unix://${config.apiSocket}`);
  }
  console.log(`\nTry next\n  DOCKER_HOST=unix://${layout.nodes[0]!.config.apiSocket} docker swarm init`);
  console.log(`\n${readyMark} npx enxame dev down --name ${layout.name}`);
}

async function printDemo(socketPath: string, nodes: NodeAnswer[]): Promise<void> {
  const filters = encodeURIComponent('{"service":["demo"],"desired-state":["running"]}');
  const tasks = await readEngine<TaskAnswer[]>(socketPath, `/tasks?filters=${filters}`);
  const names = new Map(nodes.map((node) => [node.ID, node.Description.Hostname]));
  console.log(`\nService demo: http://localhost:${demoPort}`);
  for (const task of tasks.sort((a, b) => a.Slot - b.Slot)) {
    console.log(
      `  ${`demo.${task.Slot}`.padEnd(10)} ${task.Status.State.padEnd(8)} on ${names.get(task.NodeID) ?? 'no node yet'}`,
    );
  }
}

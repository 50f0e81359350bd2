/** What a cluster has put on this node, and what takes its place when the node leaves. */
import type { NodeId } from '#libs/model';
import type { NetworkProgram, NodeNetwork } from '#libs/network';
import type { ContainerRuntime } from '#libs/runtime';
import type { Log } from '#libs/log';

export interface WorkloadOptions {
  runtime: Pick<ContainerRuntime, 'list' | 'stop' | 'remove'>;
  network: Pick<NodeNetwork, 'apply'>;
  log: Log;
}

const taskLabel = 'com.docker.swarm.task.id';
const graceMsMax = 10_000;

/** The network of a node without a cluster: its own bridge and nothing else. */
export function idleProgram(): NetworkProgram {
  return {
    generation: 0,
    self: '' as NodeId,
    settings: { kind: 'settings', id: 'settings', dataPathPort: 4789, addressPools: [] },
    networks: [],
    peers: [],
    balance: [],
  };
}

/** Stops and removes the containers of tasks, then takes the cluster's networks out of the kernel. */
export async function clearWorkload({ runtime, network, log }: WorkloadOptions): Promise<void> {
  const tasks = runtime.list().filter(({ config }) => config.labels[taskLabel] !== undefined);
  await Promise.all(
    tasks.map(async ({ config: { id, stopGraceMs }, phase }) => {
      try {
        if (phase === 'running') await runtime.stop(id, { graceMs: Math.min(stopGraceMs, graceMsMax) });
        await runtime.remove(id);
      } catch (error) {
        log('warn', 'removing the container of a task failed', { container: id, error });
      }
    }),
  );
  await network.apply(idleProgram());
}

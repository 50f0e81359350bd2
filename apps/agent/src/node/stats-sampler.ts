/** Samples the running tasks' containers every few seconds, for the cluster's history. */
import type { NodeId, StatsSample } from '#libs/model';
import type { ContainerRuntime } from '#libs/runtime';
import type { Log } from '#libs/log';

export interface StatsSamplerOptions {
  nodeId: NodeId;
  runtime: Pick<ContainerRuntime, 'list' | 'sample'>;
  publish(samples: StatsSample[]): void;
  log: Log;
}

const intervalMs = 5_000;
/** About a millisecond. */
const samplesPerTurn = 10;

export class StatsSampler {
  readonly #options: StatsSamplerOptions;
  #timer: NodeJS.Timeout | undefined;
  #stopped = false;

  constructor(options: StatsSamplerOptions) {
    this.#options = options;
  }

  start(): void {
    if (this.#stopped) return;
    this.#timer = setTimeout(() => {
      void this.#sample().finally(() => this.start());
    }, intervalMs);
  }

  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#timer);
  }

  async #sample(): Promise<void> {
    const { runtime, log } = this.#options;
    const samples: StatsSample[] = [];
    for (const { phase, config } of runtime.list()) {
      if (phase !== 'running') continue;
      if (samples.length % samplesPerTurn === 0) await new Promise<void>((resolve) => setImmediate(resolve));
      try {
        samples.push(sampleOf(this.#options.nodeId, config.id, config.labels, runtime.sample(config.id)));
      } catch (error) {
        // A container that ends while it is read has no more to tell.
        log('debug', 'no stats', { container: config.id, error });
      }
    }
    if (!this.#stopped) this.#options.publish(samples);
  }
}

function sampleOf(
  nodeId: NodeId,
  containerId: string,
  labels: Record<string, string>,
  stats: ReturnType<ContainerRuntime['sample']>,
): StatsSample {
  const taskId = labels['com.docker.swarm.task.id'];
  const serviceId = labels['com.docker.swarm.service.id'];
  const networks = Object.values(stats.network);
  return {
    nodeId,
    containerId,
    ...(taskId ? { taskId } : {}),
    ...(serviceId ? { serviceId } : {}),
    atMs: stats.atMs,
    cpuNanoseconds: stats.cpuNanoseconds,
    memoryBytes: stats.memoryBytes,
    pids: stats.pids,
    networkReceivedBytes: networks.reduce((sum, { receivedBytes }) => sum + receivedBytes, 0),
    networkSentBytes: networks.reduce((sum, { sentBytes }) => sum + sentBytes, 0),
  };
}

/** Taking a node down for good: its containers, its network and its processes, in that order. */
import type { Route } from '#libs/docker-api';
import { EnxameError } from '#libs/model';
import type { ContainerRuntime } from '#libs/runtime';
import type { Log } from '#libs/log';

const graceMsMax = 10_000;
const stopsAtOnce = 32;

/** Stops every container of the node, each with its own stop signal and grace. What cannot be stopped is told of. */
export async function stopAllContainers(
  runtime: Pick<ContainerRuntime, 'list' | 'stop'>,
  log: Log,
): Promise<void> {
  const running = runtime.list().filter(({ phase }) => phase === 'running');
  const next = running.values();
  const stopInTurn = async (): Promise<void> => {
    for (const { config } of next) {
      try {
        await runtime.stop(config.id, {
          graceMs: Math.min(config.stopGraceMs, graceMsMax),
          nodeGoesDown: true,
        });
      } catch (error) {
        log('warn', 'stopping a container failed', { container: config.id, error });
      }
    }
  };
  await Promise.all(Array.from({ length: stopsAtOnce }, stopInTurn));
}

/** `POST /_enxame/shutdown?containers=stop|keep`, for who runs this node; never for another node. */
export function shutdownRoute(shutDown: (options: { stopContainers: boolean }) => Promise<void>): Route {
  return {
    method: 'POST',
    path: '/_enxame/shutdown',
    async handler(request, response) {
      if (request.caller.kind !== 'local') {
        throw new EnxameError('forbidden', 'only this machine may take the node down');
      }
      const containers = request.query.get('containers') ?? 'keep';
      if (containers !== 'stop' && containers !== 'keep') {
        throw new EnxameError('invalid-argument', 'containers: must be stop or keep');
      }
      await shutDown({ stopContainers: containers === 'stop' });
      response.empty(204);
    },
  };
}

/** Starting, stopping, waiting for and removing a container. */
import { queryFlag, type Route } from '#libs/docker-api';
import { EnxameError, type ContainerId } from '#libs/model';
import type { ContainerExit, ContainerRuntime } from '#libs/runtime';
import type { AutoRemover } from './auto-remover.js';
import { existingContainer } from './container-lookup.js';
import type { ContainerRouteDependencies } from './dependencies.js';

type Condition = 'not-running' | 'next-exit' | 'removed';

export function lifecycleRoutes(deps: ContainerRouteDependencies, remover: AutoRemover): Route[] {
  const { runtime } = deps;
  return [
    {
      method: 'POST',
      path: '/containers/:id/start',
      async handler(request, response) {
        const { config, phase } = existingContainer(runtime, request.params['id']);
        if (phase === 'running') return response.empty(304);
        try {
          await runtime.run(config.id);
        } catch (error) {
          remover.afterEnd(config.id);
          throw error;
        }
        response.empty(204);
      },
    },
    {
      method: 'POST',
      path: '/containers/:id/stop',
      async handler(request, response) {
        const { config, phase } = existingContainer(runtime, request.params['id']);
        if (phase !== 'running') return response.empty(304);
        const signal = request.query.get('signal');
        const graceMs = secondsOf(request.query.get('t'));
        await runtime.stop(config.id, {
          ...(signal ? { signal } : {}),
          ...(graceMs === undefined ? {} : { graceMs }),
        });
        response.empty(204);
      },
    },
    {
      method: 'POST',
      path: '/containers/:id/kill',
      async handler(request, response) {
        const { config } = existingContainer(runtime, request.params['id']);
        await runtime.kill(config.id, request.query.get('signal') || 'SIGKILL');
        response.empty(204);
      },
    },
    {
      method: 'POST',
      path: '/containers/:id/resize',
      async handler(request, response) {
        const { config } = existingContainer(runtime, request.params['id']);
        await runtime.resize(config.id, sizeOf(request.query));
        response.empty(200);
      },
    },
    {
      method: 'POST',
      path: '/containers/:id/wait',
      async handler(request, response) {
        const { config } = existingContainer(runtime, request.params['id']);
        const waiting = waitFor(
          runtime,
          config.id,
          conditionOf(request.query.get('condition')),
          request.signal,
        );
        // Clients wait before they start: they go on once they have seen this head.
        const output = response.stream(200, { 'Content-Type': 'application/json' });
        const exit = await waiting;
        if (exit === undefined) return;
        const error = exit.error === undefined ? {} : { Error: { Message: exit.error } };
        output.end(`${JSON.stringify({ StatusCode: exit.exitCode, ...error })}\n`);
      },
    },
    {
      method: 'DELETE',
      path: '/containers/:id',
      async handler(request, response) {
        if (queryFlag(request.query, 'link')) {
          throw new EnxameError(
            'not-implemented',
            'links between containers are not available in this version',
          );
        }
        const { config, phase } = existingContainer(runtime, request.params['id']);
        if (phase === 'running' && queryFlag(request.query, 'force')) {
          await runtime.stop(config.id, { signal: 'SIGKILL', graceMs: -1 });
        }
        await runtime.remove(config.id);
        if (queryFlag(request.query, 'v')) await remover.removeAnonymousVolumes(config);
        response.empty(204);
      },
    },
  ];
}

function conditionOf(text: string | null): Condition {
  switch (text) {
    case null:
    case '':
    case 'not-running':
      return 'not-running';
    case 'next-exit':
    case 'removed':
      return text;
    default:
      throw new EnxameError('invalid-argument', `invalid condition: ${JSON.stringify(text)}`);
  }
}

/** Undefined when the client is gone first. Listens from the moment it is called. */
function waitFor(
  runtime: ContainerRuntime,
  id: ContainerId,
  condition: Condition,
  signal: AbortSignal,
): Promise<ContainerExit | undefined> {
  const state = runtime.get(id);
  const noExit: ContainerExit = { exitCode: 0, oomKilled: false, finishedAtMs: 0 };
  if (condition === 'not-running' && state?.phase !== 'running')
    return Promise.resolve(state?.exit ?? noExit);
  return new Promise((resolve) => {
    let last = state?.exit;
    const finish = (exit: ContainerExit | undefined): void => {
      stopWatching();
      resolve(exit);
    };
    const stopWatching = runtime.watch((event) => {
      if (event.id !== id) return;
      if (event.type === 'die') last = event.exit;
      if (event.type === 'die' && condition !== 'removed') finish(event.exit);
      // A start that failed leaves no event but its record.
      if (event.type === 'destroy') finish(last ?? noExit);
    });
    signal.addEventListener('abort', () => finish(undefined), { once: true });
    if (signal.aborted) finish(undefined);
  });
}

function secondsOf(text: string | null): number | undefined {
  if (text === null || text === '') return undefined;
  const seconds = Number(text);
  if (!Number.isInteger(seconds))
    throw new EnxameError('invalid-argument', 'invalid t: must be a whole number of seconds');
  return seconds < 0 ? -1 : seconds * 1_000;
}

const terminalSideMax = 65_535;

/** `h` and `w` of a terminal. */
export function sizeOf(query: URLSearchParams): { rows: number; columns: number } {
  const side = (name: string): number => {
    const value = Number(query.get(name));
    if (!Number.isInteger(value) || value < 0 || value > terminalSideMax) {
      throw new EnxameError(
        'invalid-argument',
        `invalid ${name}: must be a whole number from 0 to ${terminalSideMax}`,
      );
    }
    return value;
  };
  return { rows: side('h'), columns: side('w') };
}

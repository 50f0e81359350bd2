/** Starting, stopping, waiting for and removing a container. */
import { queryFlag, type Route } from '#libs/docker-api';
import { EnxameError, isEnxameError, type ContainerId } from '#libs/model';
import type { ContainerConfig, ContainerExit, ContainerRuntime, ContainerState } from '#libs/runtime';
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
        const state = existingContainer(runtime, request.params['id']);
        const { id } = state.config;
        if (state.paused)
          throw new EnxameError('conflict', 'cannot start a paused container, try unpause instead');
        if (isUp(state)) return response.empty(304);
        refusePrivateIpc(runtime, state.config);
        try {
          await deps.networks?.beforeStart(state.config);
          await runtime.run(id);
        } catch (error) {
          remover.afterEnd(id);
          throw error;
        } finally {
          deps.networks?.afterStart(id);
        }
        response.empty(204);
      },
    },
    {
      method: 'POST',
      path: '/containers/:id/stop',
      async handler(request, response) {
        const state = existingContainer(runtime, request.params['id']);
        const options = stopOptionsOf(request.query);
        if (!isUp(state)) return response.empty(304);
        await runtime.stop(state.config.id, options);
        response.empty(204);
      },
    },
    {
      method: 'POST',
      path: '/containers/:id/restart',
      async handler(request, response) {
        const { config } = existingContainer(runtime, request.params['id']);
        const options = stopOptionsOf(request.query);
        await remover.spare(config.id, () => runtime.restart(config.id, options));
        response.empty(204);
      },
    },
    {
      method: 'POST',
      path: '/containers/:id/kill',
      async handler(request, response) {
        const { config } = existingContainer(runtime, request.params['id']);
        try {
          await runtime.kill(config.id, request.query.get('signal') || 'SIGKILL');
        } catch (error) {
          if (!isEnxameError(error) || error.code !== 'conflict') throw error;
          throw new EnxameError(
            'conflict',
            `cannot kill container: ${request.params['id']}: ${error.message}`,
            { cause: error },
          );
        }
        response.empty(204);
      },
    },
    {
      method: 'POST',
      path: '/containers/:id/pause',
      async handler(request, response) {
        await runtime.pause(existingContainer(runtime, request.params['id']).config.id);
        response.empty(204);
      },
    },
    {
      method: 'POST',
      path: '/containers/:id/unpause',
      async handler(request, response) {
        await runtime.unpause(existingContainer(runtime, request.params['id']).config.id);
        response.empty(204);
      },
    },
    {
      method: 'POST',
      path: '/containers/:id/resize',
      async handler(request, response) {
        const { config } = existingContainer(runtime, request.params['id']);
        const size = sizeOf(request.query);
        await runtime.resize(config.id, size);
        deps.notify({
          type: 'container',
          action: 'resize',
          id: config.id,
          attributes: { height: String(size.rows), width: String(size.columns) },
        });
        response.empty(200);
      },
    },
    {
      method: 'POST',
      path: '/containers/:id/wait',
      async handler(request, response) {
        const { config } = existingContainer(runtime, request.params['id']);
        const condition = conditionOf(request.query.get('condition'));
        const waiting = waitFor(runtime, config.id, condition, request.signal);
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
        const { query } = request;
        const state = existingContainer(runtime, request.params['id']);
        if (queryFlag(query, 'link')) {
          throw new EnxameError(
            'invalid-argument',
            `link ${request.params['id']} not found: there are no links`,
          );
        }
        await endAndRemove(runtime, state, queryFlag(query, 'force'));
        if (queryFlag(query, 'v')) await remover.removeAnonymousVolumes(state.config);
        response.empty(204);
      },
    },
  ];
}

/** Whose memory a container shares is decided when it starts: the other one may be gone by then, or a new one. */
function refusePrivateIpc(runtime: ContainerRuntime, config: ContainerConfig): void {
  const mode = config.namespaces?.ipc;
  if (mode === undefined || typeof mode === 'string') return;
  const shown = runtime.get(mode.container)?.config.inspect?.hostConfig as { IpcMode?: string } | undefined;
  if (shown?.IpcMode !== 'private' && shown?.IpcMode !== 'none') return;
  throw new EnxameError(
    'invalid-argument',
    `can't join IPC of container ${mode.container}: non-shareable IPC (hint: use IpcMode:shareable for the donor container)`,
  );
}

/** Whatever it does, with the volumes that it made itself. */
export async function removeContainer(
  runtime: ContainerRuntime,
  remover: AutoRemover,
  id: ContainerId,
): Promise<void> {
  const state = existingContainer(runtime, id);
  await endAndRemove(runtime, state, true);
  await remover.removeAnonymousVolumes(state.config);
}

async function endAndRemove(
  runtime: ContainerRuntime,
  { config, phase, restarting }: ContainerState,
  force: boolean,
): Promise<void> {
  if (force && (phase === 'running' || restarting)) await endByForce(runtime, config.id);
  try {
    await runtime.remove(config.id);
  } catch (error) {
    // `--rm` has come first.
    const isGone = isEnxameError(error) && error.code === 'not-found';
    if (!force || !isGone) throw error;
  }
}

async function endByForce(runtime: ContainerRuntime, id: ContainerId): Promise<void> {
  try {
    await runtime.kill(id, 'SIGKILL');
    // An end that its policy answers with another run is not the one meant here.
    await runtime.stop(id, { signal: 'SIGKILL', graceMs: -1 });
  } catch (error) {
    const hasEnded = isEnxameError(error) && (error.code === 'conflict' || error.code === 'not-found');
    if (!hasEnded) throw error;
  }
}

/** Also between two runs of a restart policy. */
export function isUp({ phase, restarting }: Pick<ContainerState, 'phase' | 'restarting'>): boolean {
  return phase === 'running' || restarting === true;
}

function stopOptionsOf(query: URLSearchParams): { signal?: string; graceMs?: number } {
  const signal = query.get('signal');
  const graceMs = secondsOf(query.get('t'));
  return { ...(signal ? { signal } : {}), ...(graceMs === undefined ? {} : { graceMs }) };
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
  if (condition === 'not-running' && (state === undefined || !isUp(state)))
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
      // The user's stop between two runs is the end of the one before.
      if (event.type === 'stop' && condition !== 'removed') finish(last ?? noExit);
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
    const value = Number(query.get(name) || Number.NaN);
    if (!Number.isInteger(value) || value < 0 || value > terminalSideMax) {
      throw new EnxameError(
        'invalid-argument',
        `invalid resize ${name === 'h' ? 'height' : 'width'} ${JSON.stringify(query.get(name) ?? '')}: value out of range or not a number`,
      );
    }
    return value;
  };
  return { rows: side('h'), columns: side('w') };
}

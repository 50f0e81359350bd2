/** `GET /services/{id}/logs` and `/tasks/{id}/logs`. */
import { queryFlag, type ApiRequest, type ApiResponse, type Route } from '#libs/docker-api';
import { EnxameError, type ClusterStore, type ClusterView, type Task } from '#libs/model';
import type { Clock } from '../../membership/index.js';
import { findService, findTask } from '../edge/lookup.js';
import type { EngineClient } from '../engine/engine-client.js';
import { TaskLogStream } from './task-log-stream.js';

export interface LogDependencies {
  store: ClusterStore;
  client: EngineClient;
  clock: Clock;
}

export function logRoutes(deps: LogDependencies): Route[] {
  return [
    {
      method: 'GET',
      path: '/services/:id/logs',
      async handler(request, response) {
        const service = findService(deps.store.view(), request.params['id'] ?? '');
        const tty = service.spec.TaskTemplate.ContainerSpec?.TTY === true;
        await streamLogs(deps, request, response, {
          tty,
          tasks: (view) => view.tasksOfService(service.id),
        });
      },
    },
    {
      method: 'GET',
      path: '/tasks/:id/logs',
      async handler(request, response) {
        const view = deps.store.view();
        const { id, revisionId } = findTask(view, request.params['id'] ?? '');
        const tty = view.revisions.get(revisionId)?.taskTemplate.ContainerSpec?.TTY === true;
        await streamLogs(deps, request, response, {
          tty,
          tasks: (now) => [now.tasks.get(id)].filter((task) => task !== undefined),
        });
      },
    },
  ];
}

interface Selection {
  tty: boolean;
  tasks(view: ClusterView): readonly Readonly<Task>[];
}

const passedOn = ['follow', 'stdout', 'stderr', 'since', 'until', 'timestamps', 'tail'] as const;

async function streamLogs(
  deps: LogDependencies,
  request: ApiRequest,
  response: ApiResponse,
  selection: Selection,
): Promise<void> {
  if (!queryFlag(request.query, 'stdout') && !queryFlag(request.query, 'stderr')) {
    throw new EnxameError('invalid-argument', 'Bad parameters: you must choose at least one stream');
  }
  const query = new URLSearchParams();
  for (const name of passedOn) {
    const value = request.query.get(name);
    if (value !== null) query.set(name, value);
  }
  const follow = queryFlag(request.query, 'follow');
  const output = response.stream(200, {
    'Content-Type': selection.tty
      ? 'application/vnd.docker.raw-stream'
      : 'application/vnd.docker.multiplexed-stream',
  });
  const logs = new TaskLogStream(deps.client, output, {
    query,
    follow,
    details: queryFlag(request.query, 'details'),
    timestamps: queryFlag(request.query, 'timestamps'),
    tty: selection.tty,
    signal: request.signal,
    nowMs: () => deps.clock.nowMs(),
  });
  const addAll = (): void => {
    const view = deps.store.view();
    for (const task of selection.tasks(view)) logs.add(view, task);
  };
  if (follow) {
    logs.start();
    await followUntilGone(deps.store, request.signal, addAll);
  } else {
    const view = deps.store.view();
    for (const task of selection.tasks(view)) logs.add(view, task);
    logs.start();
    await logs.finished();
  }
  output.end();
}

/** New tasks join the stream as they come, until the client leaves. */
function followUntilGone(store: ClusterStore, signal: AbortSignal, addAll: () => void): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve();
    const stop = store.watch((event) => {
      if (event.changes.some((change) => change.table === 'tasks')) addAll();
    });
    signal.addEventListener(
      'abort',
      () => {
        stop();
        resolve();
      },
      { once: true },
    );
    addAll();
  });
}

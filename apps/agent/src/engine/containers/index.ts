/** The node's containers, execs and volumes as Docker's routes. */
import type { Route } from '#libs/docker-api';
import type { ContainerId } from '#libs/model';
import { archiveRoutes } from './archive/archive-routes.js';
import { commitRoute } from './archive/commit-route.js';
import { attachRoutes } from './attach-route.js';
import { AutoRemover } from './auto-remover.js';
import { changeRoutes } from './change-routes.js';
import { findContainer } from './container-lookup.js';
import { createContainer, createRoute } from './create-route.js';
import type { ContainerRouteDependencies } from './dependencies.js';
import { execRoutes } from './exec-routes.js';
import { ExecTable } from './exec-table.js';
import { lifecycleRoutes, removeContainer } from './lifecycle-routes.js';
import { listRoutes } from './list-routes.js';
import { logRoute } from './log-route.js';
import { statsRoute } from './stats-route.js';
import { topRoute } from './top-route.js';
import { volumeRoutes } from '../volumes/volume-routes.js';
import { watchVolumeUse } from '../volumes/volume-events.js';

export interface ContainerEngine {
  routes: Route[];
  /** As `POST /containers/create` with this body; for what the node itself runs, as a build's steps. */
  create(body: unknown): Promise<ContainerId>;
  /** As `DELETE /containers/:id?force=1&v=1`. */
  remove(id: ContainerId): Promise<void>;
  /** Whether a reference in a path is this node's. */
  local: { hasContainer(reference: string): boolean; hasExec(id: string): boolean };
  /** Once the runtime has started: takes up the removal of containers made with `--rm`. */
  start(): void;
  stop(): void;
}

export function createContainerEngine(options: Omit<ContainerRouteDependencies, 'execs'>): ContainerEngine {
  const execs = new ExecTable();
  const deps: ContainerRouteDependencies = { ...options, execs };
  const remover = new AutoRemover(options);
  let stopWatching: (() => void) | undefined;
  return {
    routes: containerRoutes(deps, remover),
    create: (body) => createContainer(deps, body).then(({ id }) => id),
    remove: (id) => removeContainer(options.runtime, remover, id),
    local: {
      hasContainer(reference) {
        try {
          return findContainer(options.runtime, reference) !== undefined;
        } catch {
          // More than one: the route says so in its own words.
          return true;
        }
      },
      hasExec: (id) => execs.has(id),
    },
    start() {
      remover.start();
      options.runtime.resume().catch((error: unknown) => options.log(error, 'run containers again'));
      const stops = [
        options.runtime.watch((event) => {
          if (event.type === 'destroy') execs.forget(event.id);
          if (event.type === 'die') execs.dropUnstarted(event.id);
        }),
        watchVolumeUse(options.runtime, (notice) => options.notify(notice)),
      ];
      stopWatching = () => {
        for (const stop of stops) stop();
      };
    },
    stop() {
      remover.stop();
      stopWatching?.();
    },
  };
}

export function containerRoutes(deps: ContainerRouteDependencies, remover: AutoRemover): Route[] {
  return [
    ...listRoutes(deps),
    createRoute(deps),
    ...lifecycleRoutes(deps, remover),
    ...changeRoutes(deps, remover),
    ...archiveRoutes(deps),
    commitRoute(deps),
    ...attachRoutes(deps),
    logRoute(deps),
    ...execRoutes(deps),
    statsRoute(deps),
    topRoute(deps),
    ...volumeRoutes(deps),
  ];
}

/** The node's own half of the Docker API: its containers, images and volumes, as routes and as what others ask of it. */
import type { Route } from '#libs/docker-api';
import type { ImageStore, ImageUse, PeerSource } from '#libs/images';
import type { ImageId } from '#libs/model';
import type { NodeNetwork } from '#libs/network';
import type { ContainerRuntime, VolumeStore } from '#libs/runtime';
import type { Log } from '#libs/log';
import type { TaskVolumes } from '../tasks/ports.js';
import type { LocalContainers } from './front-door/cluster-forward.js';
import { createContainerEngine } from './containers/index.js';
import type { Notify } from './containers/notices.js';
import { buildRoutes } from './build/index.js';
import { distributionRoutes, imageRoutes, loginRoute } from './images/index.js';
import { ContainerNetworks } from './networks/container-networks.js';
import { LocalNetworks } from './networks/local-networks.js';
import { dfRoute } from './usage/df-route.js';
import type { NodeCounts } from './system/node-status.js';

export interface EngineOptions {
  runtime: ContainerRuntime;
  images: ImageStore;
  volumes: VolumeStore;
  network: NodeNetwork;
  /** Folder of all that the node keeps. */
  stateDir: string;
  /** Folder of the node's network state. */
  networkDir: string;
  peersFor(reference: string): Promise<PeerSource[]>;
  notify: Notify;
  nowMs(): number;
  log: Log;
}

export interface Engine {
  routes: Route[];
  /** What other nodes may ask besides. */
  peerRoutes: Route[];
  local: LocalContainers;
  counts(): NodeCounts;
  taskVolumes: TaskVolumes;
  networks: { list: LocalNetworks; containers: ContainerNetworks };
  /** The runtime has started, and the node's network has not: ports and names are in its first program. */
  startNetworks(): void;
  /** Once the runtime has started and before the routes are served. */
  start(): void;
  stop(): void;
}

export function engineRoutes(options: EngineOptions): Engine {
  const { runtime, images, volumes, log } = options;
  const nowMs = (): number => options.nowMs();
  const networks = new LocalNetworks(options.networkDir);
  const containerNetworks = new ContainerNetworks({
    runtime,
    network: options.network,
    networks,
    log: (error, what) => log('warn', what, { error }),
  });
  const containers = createContainerEngine({
    runtime,
    images,
    volumes,
    networks: containerNetworks,
    stateDir: options.stateDir,
    notify: (notice) => options.notify(notice),
    nowMs,
    log: (error, what) => log('error', what, { error }),
  });
  const inUse = (id: ImageId): ImageUse | undefined => {
    const users = runtime.list().filter(({ config }) => config.image.id === id);
    const user = users.find(({ phase }) => phase === 'running') ?? users[0];
    return user && { container: user.config.id, running: user.phase === 'running' };
  };
  return {
    routes: [
      ...containers.routes,
      loginRoute(images),
      dfRoute({ runtime, images, volumes, nowMs }),
      ...imageRoutes({
        images,
        inUse,
        peersFor: (reference) => options.peersFor(reference),
        nowMs,
      }),
      ...buildRoutes({
        images,
        runtime,
        createContainer: (body) => containers.create(body),
        removeContainer: (id) => containers.remove(id),
        inUse,
        peersFor: (reference) => options.peersFor(reference),
        nowMs,
      }),
    ],
    peerRoutes: distributionRoutes(images),
    local: containers.local,
    networks: { list: networks, containers: containerNetworks },
    startNetworks() {
      networks.load();
      containerNetworks.start();
    },
    start: () => containers.start(),
    stop() {
      containerNetworks.stop();
      containers.stop();
    },
    counts: () => {
      const all = runtime.list();
      const paused = all.filter((state) => state.paused).length;
      const running = all.filter(({ phase }) => phase === 'running').length - paused;
      return {
        containers: all.length,
        running,
        paused,
        stopped: all.length - running - paused,
        images: images.list().length,
      };
    },
    taskVolumes: {
      async ensure({ name, labels, anonymous }) {
        return (await volumes.create({ name, labels, anonymous })).source;
      },
      async remove(name) {
        if (volumes.get(name)) await volumes.remove(name);
      },
    },
  };
}

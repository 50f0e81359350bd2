/** Makes the parts of the agent that need no small process. */
import 'reflect-metadata';
import { createImageStore } from '#libs/images';
import type { NodeConfig } from '#libs/model';
import { createNodeNetwork } from '#libs/network';
import { createVolumeStore, type ContainerRuntime } from '#libs/runtime';
import { createTelemetry } from '#libs/telemetry';
import { join } from 'node:path';
import { dnsUpstreams } from './node/description.js';
import type { Log } from '#libs/log';
import { ManagerProcess } from './node/manager-process.js';
import { NodeAgent } from './node-agent.js';

export interface AgentParts {
  config: NodeConfig;
  managerMain: string;
  runtime: ContainerRuntime;
  nowMs(): number;
  log: Log;
  failed(error: unknown, what: string): void;
}

export function createAgent(parts: AgentParts): NodeAgent {
  const { config, runtime, log } = parts;
  const fraction = (): number => Math.random();
  return new NodeAgent({
    config,
    runtime,
    images: createImageStore({
      dir: join(config.stateDir, 'images'),
      clock: { nowMs: parts.nowMs },
      log: (message, error) => parts.failed(error, message),
      registry: {
        insecureHosts: config.insecureRegistries,
        ...(config.registryMirrors === undefined ? {} : { mirrors: config.registryMirrors }),
      },
    }),
    network: createNodeNetwork({
      ...config.network,
      stateDir: join(config.stateDir, 'network'),
      address: config.address,
      dnsUpstreams: dnsUpstreams(),
    }),
    volumes: createVolumeStore({
      stateDir: config.stateDir,
      nowMs: parts.nowMs,
      usedBy: (name) =>
        runtime
          .list()
          .filter(({ config: { mounts } }) =>
            mounts.some((mount) => mount.type === 'volume' && mount.name === name),
          )
          .map(({ config: { id } }) => id),
    }),
    // What the node's own API shows; the cluster's events and stats are kept by the leader.
    telemetry: createTelemetry(),
    manager: new ManagerProcess({
      config,
      mainFile: parts.managerMain,
      fraction,
      log,
    }),
    nowMs: parts.nowMs,
    fraction,
    log,
    exit: (code) => process.exit(code),
  });
}

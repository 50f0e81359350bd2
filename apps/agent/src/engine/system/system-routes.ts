/** `/_ping`, `/version`, `/info` and the other routes about the engine itself. */
import { apiVersion, apiVersionMin, type ApiResponse, type Route } from '#libs/docker-api';
import { EnxameError, type NodeConfig } from '#libs/model';
import { presentInfo, type ClusterInfo } from './info.js';
import type { Machine } from './machine.js';
import type { NodeCounts, NodeStatus } from './node-status.js';
import { swarmHeader } from './node-status.js';
import { productBuiltAtMs, productName, productVersion } from './product.js';

export interface SystemDependencies {
  config: NodeConfig;
  machine: Machine;
  status(): NodeStatus;
  counts(): NodeCounts;
  /** Figures of the cluster; undefined where this node has no manager, or it does not answer now. */
  clusterInfo(): Promise<ClusterInfo | undefined>;
  nowMs(): number;
}

export function systemRoutes(deps: SystemDependencies): Route[] {
  const ping = async (response: ApiResponse, body: string): Promise<void> => {
    const output = response.stream(200, {
      'Content-Type': 'text/plain; charset=utf-8',
      'Content-Length': String(Buffer.byteLength(body)),
      'Builder-Version': '1',
      'Cache-Control': 'no-cache, no-store, must-revalidate',
      Pragma: 'no-cache',
      Swarm: swarmHeader(deps.status()),
    });
    output.end(body);
  };
  return [
    { method: 'GET', path: '/_ping', handler: (_request, response) => ping(response, 'OK') },
    { method: 'HEAD', path: '/_ping', handler: (_request, response) => ping(response, '') },
    {
      method: 'GET',
      path: '/version',
      handler: async (_request, response) => response.json(200, presentVersion(deps)),
    },
    {
      method: 'GET',
      path: '/info',
      handler: async ({ version }, response) => {
        const info = presentInfo({ ...deps, cluster: await deps.clusterInfo() });
        const [, minor] = version;
        response.json(200, minor < 25 ? { ...info, ExecutionDriver: '<not supported>' } : info);
      },
    },
    // There are no plugins, and `docker inspect` looks among them for every name.
    { method: 'GET', path: '/plugins', handler: async (_request, response) => response.json(200, []) },
    {
      method: 'GET',
      path: '/plugins/:name+/json',
      handler: async (request) => {
        throw new EnxameError('not-found', `plugin "${request.params['name']}" not found`);
      },
    },
  ];
}

function presentVersion({ machine }: SystemDependencies): Record<string, unknown> {
  const buildTime = new Date(productBuiltAtMs).toISOString();
  const details = {
    ApiVersion: apiVersion,
    Arch: machine.goArchitecture,
    BuildTime: buildTime,
    Experimental: 'false',
    GitCommit: '',
    GoVersion: `none (Node.js ${process.version})`,
    KernelVersion: machine.kernelVersion,
    MinAPIVersion: apiVersionMin,
    Os: 'linux',
  };
  return {
    Platform: { Name: productName },
    Components: [{ Name: 'Engine', Version: productVersion, Details: details }],
    Version: productVersion,
    ApiVersion: apiVersion,
    MinAPIVersion: apiVersionMin,
    GitCommit: '',
    GoVersion: details.GoVersion,
    Os: 'linux',
    Arch: machine.goArchitecture,
    KernelVersion: machine.kernelVersion,
    Experimental: false,
    BuildTime: buildTime,
  };
}

import type { NodeConfig } from '#libs/model';

/**
 * Where everything of a local cluster lives, worked out from its name and index alone. Node 1 plays the machine
 * itself; every other node is a network namespace with a veth to one bridge.
 */
export interface DevClusterOptions {
  name: string;
  managers: number;
  workers: number;
  telemetryUrl?: string;
  heartbeatPeriodMs: number;
}

export interface DevNode {
  name: string;
  /** Underlay IPv4 address. */
  address: string;
  /** Absent for node 1, which lives in the machine's own namespace. */
  namespace?: string;
  /** The veth's end on the bridge. */
  hostLink?: string;
  configFile: string;
  logFile: string;
  config: Omit<NodeConfig, 'membership'>;
}

export interface DevLayout {
  name: string;
  index: number;
  stateDir: string;
  runDir: string;
  recordFile: string;
  bridge: string;
  bridgeAddress: string;
  underlaySubnet: string;
  nftTable: string;
  addressPool: string;
  dataPathPort: number;
  nodes: DevNode[];
}

export const clusterNamePattern = /^[a-z][a-z0-9-]{0,19}$/;
export const devClusterIndexMax = 15;
export const devNodesMax = 50;
export const stateRoot = '/var/lib/enxame';
export const runRoot = '/run/enxame';

/**
 * Clusters side by side share the machine's namespace (each one's node 1 lives there), so whatever the kernel
 * knows by name or number differs by the cluster's index: bridge, subnets, VXLAN port, marks, link-local gateway.
 */
export function layOutDevCluster(options: DevClusterOptions, index: number): DevLayout {
  const { name } = options;
  const stateDir = `${stateRoot}/${name}`;
  const runDir = `${runRoot}/${name}`;
  const count = options.managers + options.workers;
  const underlay = `10.98.${index}`;
  const dataPathPort = 4789 + index;
  const nodes = Array.from({ length: count }, (_, position): DevNode => {
    const number = position + 1;
    const nodeName = `node-${number}`;
    const first = number === 1;
    const nodeState = `${stateDir}/${nodeName}`;
    return {
      name: nodeName,
      address: `${underlay}.${number}`,
      ...(first ? {} : { namespace: `enxame-${name}-${nodeName}`, hostLink: `enx${index}n${number}` }),
      configFile: `${nodeState}/config.json`,
      logFile: `${nodeState}/daemon.log`,
      config: {
        clusterName: name,
        nodeName,
        stateDir: nodeState,
        runDir: `${runDir}/${nodeName}`,
        apiSocket: `${runDir}/${nodeName}.sock`,
        managerSocket: `${runDir}/${nodeName}/manager.sock`,
        address: `${underlay}.${number}`,
        clusterPort: 2377,
        enginePort: 2378,
        cgroupParent: `/enxame/${name}/${nodeName}`,
        network: {
          tag: `d${index}n${number}`,
          linkLocalGateway: `169.254.1.${index + 1}`,
          markBase: (0x0e0 + index) << 20,
        },
        insecureRegistries: [`${underlay}.0/24`],
        ...(options.telemetryUrl ? { telemetryUrl: options.telemetryUrl } : {}),
        logLevel: 'info',
      },
    };
  });
  return {
    name,
    index,
    stateDir,
    runDir,
    recordFile: `${stateDir}/cluster.json`,
    bridge: `enx${index}br`,
    bridgeAddress: `${underlay}.1`,
    underlaySubnet: `${underlay}.0/24`,
    nftTable: `enxame_dev_${index}`,
    addressPool: `10.${128 + index * 8}.0.0/13`,
    dataPathPort,
    nodes,
  };
}

/** The cluster as Docker's API shows it. */
import { EnxameError, type Cluster, type ClusterView } from '#libs/model';
import { wantedTls } from '#libs/pki';
import { presentMeta } from '../edge/present.js';
import { presentTls } from './tls-info.js';

export function requireCluster(view: ClusterView): Readonly<Cluster> {
  if (view.cluster === undefined) throw new EnxameError('unavailable', 'the cluster is not ready yet');
  return view.cluster;
}

/** Docker's ClusterInfo, as `docker info` shows it: without the join tokens. */
export function presentClusterInfo(view: ClusterView): Record<string, unknown> {
  const cluster = requireCluster(view);
  return {
    ...presentMeta(cluster),
    Spec: { ...cluster.spec, Name: cluster.spec.Name ?? 'default', Labels: cluster.spec.Labels ?? {} },
    TLSInfo: presentTls(wantedTls(cluster)),
    RootRotationInProgress: cluster.rootRotation !== undefined,
    DataPathPort: cluster.dataPathPort,
    DefaultAddrPool: cluster.addressPools,
    SubnetSize: cluster.subnetSize,
  };
}

export function presentSwarm(view: ClusterView): Record<string, unknown> {
  const { joinTokens } = requireCluster(view);
  return {
    ...presentClusterInfo(view),
    JoinTokens: { Worker: joinTokens.worker, Manager: joinTokens.manager },
  };
}

/** Which of the cluster's nodes this manager runs on. */
import type { ClusterView, NodeConfig, NodeId } from '#libs/model';
import { Inject, Injectable } from '@nestjs/common';
import { configToken } from './providers.js';

@Injectable()
export class SelfNode {
  constructor(@Inject(configToken) private readonly config: NodeConfig) {}

  /** By the address of its cluster port, which no other manager has. */
  idIn(view: ClusterView): NodeId | undefined {
    const address = `${this.config.address}:${this.config.clusterPort}`;
    for (const node of view.nodes.all()) if (node.manager?.address === address) return node.id;
    return undefined;
  }
}

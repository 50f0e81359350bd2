/** `/nodes`. */
import { anyValue, labelsMatch, parseFilters, queryFlag } from '#libs/docker-api';
import {
  EnxameError,
  type Change,
  type ClusterStore,
  type ClusterView,
  type Node,
  type NodeSpec,
} from '#libs/model';
import { Body, Controller, Delete, Get, HttpCode, Inject, Param, Post, Query } from '@nestjs/common';
import { wantedTls } from '#libs/pki';
import { removalRefusal } from '../../group/plan-group.js';
import { bodyOf } from '../edge/body.js';
import { findNode, parseVersion } from '../edge/lookup.js';
import { leadershipToken, storeToken, type Leadership } from '../edge/providers.js';
import { SelfNode } from '../edge/self-node.js';
import { outOfSequence } from '../services/service-writer.js';
import { NodeSpecDto } from './node-spec.dto.js';
import { presentNode, type NodeContext } from './node.presenter.js';

const filterNames = ['id', 'label', 'membership', 'name', 'node.label', 'role'];

@Controller('nodes')
export class NodesController {
  constructor(
    @Inject(storeToken) private readonly store: ClusterStore,
    @Inject(leadershipToken) private readonly leadership: Leadership,
    private readonly self: SelfNode,
  ) {}

  @Get()
  list(@Query('filters') text: string | undefined): unknown {
    const filters = parseFilters(text, filterNames);
    const view = this.store.view();
    const context = this.context(view);
    const matches = (node: Readonly<Node>): boolean =>
      anyValue(filters, 'id', (value) => node.id.startsWith(value)) &&
      anyValue(filters, 'name', (value) => (node.spec.Name || node.description.hostname).startsWith(value)) &&
      anyValue(filters, 'role', (value) => node.spec.Role === value) &&
      anyValue(filters, 'membership', (value) => value === 'accepted') &&
      labelsMatch(filters, 'label', node.description.engine.labels) &&
      labelsMatch(filters, 'node.label', node.spec.Labels);
    return [...view.nodes.all()].filter(matches).map((node) => presentNode(node, context));
  }

  @Get(':id')
  inspect(@Param('id') id: string): unknown {
    const view = this.store.view();
    return presentNode(findNode(view, id, this.self.idIn(view)), this.context(view));
  }

  @Post(':id/update')
  @HttpCode(200)
  async update(
    @Param('id') id: string,
    @Query('version') versionText: string | undefined,
    @Body(bodyOf(NodeSpecDto)) spec: NodeSpec,
  ): Promise<void> {
    const version = parseVersion(versionText);
    const view = this.store.view();
    const node = findNode(view, id, this.self.idIn(view));
    if (node.version !== version) throw outOfSequence();
    if (spec.Role === 'worker' && node.manager !== undefined) requireRemovable(view, node);
    try {
      await this.store.propose([
        { op: 'patch', table: 'nodes', id: node.id, fields: { spec }, ifVersion: version },
      ]);
    } catch (error) {
      if (error instanceof EnxameError && error.code === 'version-mismatch') throw outOfSequence(error);
      throw error;
    }
  }

  @Delete(':id')
  @HttpCode(200)
  async remove(@Param('id') id: string, @Query() query: Record<string, string>): Promise<void> {
    const force = queryFlag(new URLSearchParams(query), 'force');
    const view = this.store.view();
    const node = findNode(view, id, this.self.idIn(view));
    if (node.manager !== undefined) {
      throw new EnxameError(
        'failed-precondition',
        `rpc error: code = FailedPrecondition desc = node ${node.id} is a cluster manager and is a member of the raft cluster. It must be demoted to worker before removal`,
      );
    }
    if (node.status.state === 'ready' && !force) {
      throw new EnxameError(
        'failed-precondition',
        `rpc error: code = FailedPrecondition desc = node ${node.id} is not down and can't be removed`,
      );
    }
    // Its tasks are noticed as lost and moved by the leader's loops.
    const changes: Change[] = [{ op: 'delete', table: 'nodes', id: node.id }];
    await this.store.propose(changes);
  }

  private context(view: ClusterView): NodeContext {
    return { leaderId: this.leadership.leaderId(), wanted: view.cluster && wantedTls(view.cluster) };
  }
}

/** Swarm's words for what would leave the cluster without managers that can decide. */
function requireRemovable(view: ClusterView, node: Readonly<Node>): void {
  const refusal = removalRefusal(view.nodes.all(), node.id);
  if (refusal === undefined) return;
  throw new EnxameError('failed-precondition', `rpc error: code = FailedPrecondition desc = ${refusal}`);
}

/** `/swarm` where this node is a manager. Coming and leaving are the agent's routes. */
import { queryFlag } from '#libs/docker-api';
import { EnxameError, type Change, type Cluster, type ClusterStore, type SwarmSpec } from '#libs/model';
import { makeJoinToken, makeUnlockKey } from '#libs/pki';
import { Body, Controller, Get, HttpCode, Inject, Post, Query } from '@nestjs/common';
import { bodyOf } from '../edge/body.js';
import { parseVersion } from '../edge/lookup.js';
import { clockToken, randomToken, storeToken, type RandomBytes } from '../edge/providers.js';
import { outOfSequence } from '../services/service-writer.js';
import { requestedRoot, withoutSigningCa } from '../../rotation/index.js';
import type { Clock } from '../../membership/ports.js';
import { SwarmSpecDto } from './swarm-spec.dto.js';
import { presentSwarm, requireCluster } from './swarm.presenter.js';

@Controller('swarm')
export class SwarmController {
  constructor(
    @Inject(storeToken) private readonly store: ClusterStore,
    @Inject(randomToken) private readonly randomBytes: RandomBytes,
    @Inject(clockToken) private readonly clock: Clock,
  ) {}

  @Get()
  inspect(): unknown {
    return presentSwarm(this.store.view());
  }

  /** Empty while autolock is off. */
  @Get('unlockkey')
  unlockKey(): unknown {
    return { UnlockKey: requireCluster(this.store.view()).unlockKey ?? '' };
  }

  /** A locked manager answers this one elsewhere, before it has a store. */
  @Post('unlock')
  unlock(): never {
    throw new EnxameError('conflict', 'swarm is not locked');
  }

  @Post('update')
  @HttpCode(200)
  async update(
    @Query() query: Record<string, string>,
    @Body(bodyOf(SwarmSpecDto)) sent: SwarmSpec & { JoinTokens?: unknown },
  ): Promise<void> {
    const version = parseVersion(query['version']);
    const flags = new URLSearchParams(query);
    const { JoinTokens: _, ...asked } = sent;
    const cluster = requireCluster(this.store.view());
    if (cluster.version !== version) throw outOfSequence();
    checkSwarmSpec(asked, cluster);
    const root = await requestedRoot(asked.CAConfig, cluster, this.clock.nowMs());
    const spec = withoutSigningCa(asked);
    const joinTokens = {
      worker: queryFlag(flags, 'rotateWorkerToken') ? this.newToken(cluster) : cluster.joinTokens.worker,
      manager: queryFlag(flags, 'rotateManagerToken') ? this.newToken(cluster) : cluster.joinTokens.manager,
    };
    const unlockKey = this.unlockKeyFor(spec, cluster, queryFlag(flags, 'rotateManagerUnlockKey'));
    const fields = {
      spec,
      joinTokens,
      unlockKey,
      ...(root.kind === 'rotate' ? { rootRotation: root.rotation } : {}),
      ...(root.kind === 'abort' ? { rootRotation: undefined } : {}),
    };
    try {
      await this.store.propose([
        { op: 'patch', table: 'clusters', id: cluster.id, fields, ifVersion: version } as Change,
      ]);
    } catch (error) {
      if (error instanceof EnxameError && error.code === 'version-mismatch') throw outOfSequence(error);
      throw error;
    }
  }

  private unlockKeyFor(spec: SwarmSpec, cluster: Readonly<Cluster>, rotate: boolean): string {
    if (spec.EncryptionConfig?.AutoLockManagers !== true) return '';
    return cluster.unlockKey && !rotate ? cluster.unlockKey : makeUnlockKey(this.randomBytes(32));
  }

  private newToken(cluster: Readonly<Cluster>): string {
    return makeJoinToken(cluster.rootCa.certificatePem, this.randomBytes(16));
  }
}

function checkSwarmSpec(spec: SwarmSpec, cluster: Readonly<Cluster>): void {
  const missing = (feature: string): EnxameError =>
    new EnxameError('not-implemented', `${feature}: not implemented yet`);
  if ((spec.Name ?? 'default') !== (cluster.spec.Name ?? 'default')) {
    throw new EnxameError(
      'invalid-argument',
      "invalid Name: the name of a swarm cannot be changed from 'default'",
    );
  }
  const driver = spec.TaskDefaults?.LogDriver?.Name ?? '';
  if (driver !== '' && driver !== 'json-file')
    throw missing(`the log driver ${driver} (TaskDefaults.LogDriver)`);
}

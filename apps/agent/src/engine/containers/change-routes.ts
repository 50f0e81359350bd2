/** `docker rename`, `docker update` and `docker container prune`. */
import { labelsMatch, parseFilters, validateBody, type Filters, type Route } from '#libs/docker-api';
import { EnxameError } from '#libs/model';
import type { ContainerChange, ContainerConfig } from '#libs/runtime';
import { availableParallelism } from 'node:os';
import { untilMsOf } from '../images/index.js';
import type { AutoRemover } from './auto-remover.js';
import { existingContainer } from './container-lookup.js';
import type { ContainerRouteDependencies } from './dependencies.js';
import { isUp } from './lifecycle-routes.js';
import { restartOf } from './request/container-config.js';
import { ContainerUpdateDto } from './request/create-body.dto.js';
import { resourcesOf, warningsOf } from './request/resources.js';
import { shownRestart, type Shown } from './request/shown-config.js';

const pruneFilterNames = ['label', 'label!', 'until'] as const;

export function changeRoutes(deps: ContainerRouteDependencies, remover: AutoRemover): Route[] {
  const { runtime } = deps;
  return [
    {
      method: 'POST',
      path: '/containers/:id/rename',
      async handler(request, response) {
        const { config } = existingContainer(runtime, request.params['id']);
        const name = (request.query.get('name') ?? '').replace(/^\//, '');
        if (name === '') throw new EnxameError('invalid-argument', 'Neither old nor new names may be empty');
        if (name === config.name) {
          throw new EnxameError(
            'invalid-argument',
            'Renaming a container with the same name as its current name',
          );
        }
        await runtime.rename(config.id, name);
        response.empty(204);
      },
    },
    {
      method: 'POST',
      path: '/containers/:id/update',
      async handler(request, response) {
        const raw = await request.json();
        const { config } = existingContainer(runtime, request.params['id']);
        const body = validateBody(ContainerUpdateDto, raw ?? {});
        await runtime.update(config.id, changeOf(config, body));
        response.json(200, { Warnings: warningsOf(body) });
      },
    },
    {
      method: 'POST',
      path: '/containers/prune',
      async handler(request, response) {
        const filters = parseFilters(request.query.get('filters'), pruneFilterNames);
        const deleted: string[] = [];
        let reclaimed = 0;
        const untilMs = untilMsOf(filters, deps.nowMs());
        for (const state of runtime.list()) {
          const { config } = state;
          if (isUp(state) || !isPruned(filters, config.labels)) continue;
          if (untilMs !== undefined && config.createdAtMs >= untilMs) continue;
          const bytes = await runtime.writtenBytes(config.id);
          await runtime.remove(config.id);
          await remover.removeAnonymousVolumes(config, { quietly: true });
          deleted.push(config.id);
          reclaimed += bytes;
        }
        deps.notify({
          type: 'container',
          action: 'prune',
          id: '',
          attributes: { reclaimed: String(reclaimed) },
        });
        response.json(200, {
          ContainersDeleted: deleted.length === 0 ? null : deleted,
          SpaceReclaimed: reclaimed,
        });
      },
    },
  ];
}

/** Docker's prune filters: every `label` is there, no `label!` is. */
export function isPruned(filters: Filters, labels: Readonly<Record<string, string>>): boolean {
  if (!labelsMatch(filters, 'label', labels)) return false;
  return !(filters.get('label!') ?? []).some((label) =>
    labelsMatch(new Map([['label', [label]]]), 'label', labels),
  );
}

/** A value of zero changes nothing: `docker update` sends them all. */
function changeOf(config: ContainerConfig, body: ContainerUpdateDto): ContainerChange {
  const host = (config.inspect?.hostConfig ?? {}) as Shown;
  const { RestartPolicy: policy, ...given } = body;
  const asked = Object.fromEntries(
    Object.entries(given).filter(
      ([, value]) =>
        value !== undefined && value !== null && value !== 0 && value !== '' && !isEmptyList(value),
    ),
  );
  if ('NanoCpus' in asked && (host['CpuQuota'] || host['CpuPeriod'])) {
    throw new EnxameError(
      'invalid-argument',
      `Conflicting options: Nano CPUs cannot be updated as CPU ${host['CpuQuota'] ? 'Quota' : 'Period'} has already been set`,
    );
  }
  for (const name of ['CpuQuota', 'CpuPeriod'] as const) {
    if (!(name in asked) || !host['NanoCpus']) continue;
    throw new EnxameError(
      'invalid-argument',
      `Conflicting options: CPU ${name.slice(3)} cannot be updated as NanoCPUs has already been set`,
    );
  }
  checkMemory(host, asked);
  const merged: Shown = { ...host, ...asked };
  if ('PidsLimit' in asked && Number(asked['PidsLimit']) <= 0) merged['PidsLimit'] = null;
  const changesPolicy = policy !== undefined && policy !== null && Boolean(policy.Name);
  if (changesPolicy) {
    if (host['AutoRemove'] === true && policy.Name !== 'no') {
      throw new EnxameError(
        'invalid-argument',
        'Restart policy cannot be updated because AutoRemove is enabled for the container',
      );
    }
    merged['RestartPolicy'] = shownRestart(policy);
  }
  const resources = resourcesOf(merged as ContainerUpdateDto, { cpus: availableParallelism() });
  return {
    ...(Object.keys(asked).length === 0 ? {} : { resources }),
    ...(changesPolicy ? { restart: restartOf(policy) } : {}),
    inspect: { ...config.inspect, hostConfig: merged },
  };
}

function checkMemory(host: Shown, asked: Shown): void {
  const memory = Number(asked['Memory'] ?? 0);
  const swap = Number(host['MemorySwap'] ?? 0);
  if (memory > 0 && !('MemorySwap' in asked) && swap > 0 && memory > swap) {
    throw new EnxameError(
      'invalid-argument',
      'Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time',
    );
  }
}

function isEmptyList(value: unknown): boolean {
  return Array.isArray(value) && value.length === 0;
}

/**
 * Changes of services as transactions. A service and the revision that holds its template are written together; the
 * rest (tasks, addresses, rollouts) follows from them in the leader's loops.
 */
import {
  EnxameError,
  hostNetwork,
  type Change,
  type ClusterStore,
  type ClusterView,
  type Draft,
  type IdSource,
  type NetworkAttachmentConfig,
  type RegistryAuth,
  type Revision,
  type RevisionId,
  type Service,
  type ServiceId,
  type ServiceSpec,
} from '#libs/model';
import { Inject, Injectable } from '@nestjs/common';
import { isDeepStrictEqual } from 'node:util';
import type { Clock } from '../../membership/index.js';
import { findNetwork, findService } from '../edge/lookup.js';
import { clockToken, idSourceToken, randomToken, storeToken, type RandomBytes } from '../edge/providers.js';
import { randomName } from './random-name.js';
import { payloadGuards } from './payload-references.js';
import { checkServiceSpec } from './service-rules.js';

const nameAttemptsMax = 100;
/** Of one transaction: a store entry has a limit, and the loops finish what is left. */
const tasksPerTransactionMax = 2_000;

@Injectable()
export class ServiceWriter {
  constructor(
    @Inject(storeToken) private readonly store: ClusterStore,
    @Inject(clockToken) private readonly clock: Clock,
    @Inject(idSourceToken) private readonly newId: IdSource,
    @Inject(randomToken) private readonly randomBytes: RandomBytes,
  ) {}

  async create(sent: ServiceSpec, auth?: RegistryAuth): Promise<ServiceId> {
    const view = this.store.view();
    const spec = completed(view, {
      ...sent,
      Name: (sent.Name ?? '') === '' ? this.freeName(view) : sent.Name,
    });
    checkServiceSpec(view, spec);
    if (view.serviceByName(spec.Name) !== undefined) {
      throw new EnxameError(
        'conflict',
        `rpc error: code = AlreadyExists desc = name conflicts with an existing object: service ${spec.Name} already exists`,
      );
    }
    const id = this.newId<ServiceId>();
    const revision = this.revisionOf(id, spec, auth);
    await this.store.propose([
      { op: 'put', table: 'services', object: { id, spec, revisionId: revision.id } },
      { op: 'put', table: 'revisions', object: revision },
      ...payloadGuards(spec.TaskTemplate.ContainerSpec),
    ]);
    return id;
  }

  /** Without credentials of its own an update keeps those of the spec it replaces, or of the one before. */
  async update(
    reference: string,
    version: number,
    sent: ServiceSpec,
    registry: { auth: RegistryAuth | undefined; isFromPrevious: boolean },
  ): Promise<void> {
    const view = this.store.view();
    const service = requireVersion(findService(view, reference), version);
    const spec = completed(view, { ...sent, Name: sent.Name ?? service.spec.Name });
    if (spec.Name !== service.spec.Name) {
      throw new EnxameError('not-implemented', 'invalid Name: renaming services is not supported');
    }
    if (isGlobal(spec) !== isGlobal(service.spec)) {
      throw new EnxameError('not-implemented', 'invalid Mode: service mode change is not allowed');
    }
    checkServiceSpec(view, spec, service.id);
    const sameTemplate = isDeepStrictEqual(spec.TaskTemplate, service.spec.TaskTemplate);
    const kept = registry.isFromPrevious ? service.previousRevisionId : service.revisionId;
    const auth = registry.auth ?? (kept && view.revisions.get(kept)?.registryAuth);
    const revision = sameTemplate ? undefined : this.revisionOf(service.id, spec, auth);
    const changes: Change[] = [
      {
        op: 'patch',
        table: 'services',
        id: service.id,
        ifVersion: version,
        fields: {
          spec,
          previousSpec: service.spec,
          revisionId: revision?.id ?? service.revisionId,
          previousRevisionId: service.revisionId,
          updateStatus: undefined,
        },
      },
    ];
    if (revision !== undefined) changes.push({ op: 'put', table: 'revisions', object: revision });
    else if (registry.auth !== undefined) {
      changes.push({
        op: 'patch',
        table: 'revisions',
        id: service.revisionId,
        fields: { registryAuth: registry.auth },
      });
    }
    changes.push(...payloadGuards(spec.TaskTemplate.ContainerSpec));
    await this.propose(changes);
  }

  /** `docker service rollback`: the two specs change places, and the rollout goes by the rollback rules. */
  async rollBack(reference: string, version: number): Promise<void> {
    const view = this.store.view();
    const service = requireVersion(findService(view, reference), version);
    const { previousSpec } = service;
    if (previousSpec === undefined) {
      throw new EnxameError('failed-precondition', `service ${service.id} does not have a previous spec`);
    }
    checkServiceSpec(view, previousSpec, service.id);
    const kept =
      service.previousRevisionId !== undefined &&
      view.revisions.get(service.previousRevisionId) !== undefined;
    const auth = view.revisions.get(service.revisionId)?.registryAuth;
    const revision = kept ? undefined : this.revisionOf(service.id, previousSpec, auth);
    const changes: Change[] = [
      {
        op: 'patch',
        table: 'services',
        id: service.id,
        ifVersion: version,
        fields: {
          spec: previousSpec,
          previousSpec: service.spec,
          revisionId: revision?.id ?? (service.previousRevisionId as RevisionId),
          previousRevisionId: service.revisionId,
          updateStatus: {
            state: 'rollback_started',
            startedAtMs: this.clock.nowMs(),
            message: 'manually requested rollback',
          },
        },
      },
    ];
    if (revision !== undefined) changes.push({ op: 'put', table: 'revisions', object: revision });
    changes.push(...payloadGuards(previousSpec.TaskTemplate.ContainerSpec));
    await this.propose(changes);
  }

  /** The service is gone at once and its name free; its tasks are told to go in the same transaction. */
  async remove(reference: string): Promise<void> {
    const view = this.store.view();
    const service = findService(view, reference);
    const tasks = view.tasksOfService(service.id).filter((task) => task.desiredState !== 'remove');
    const changes: Change[] = [{ op: 'delete', table: 'services', id: service.id }];
    for (const task of tasks.slice(0, tasksPerTransactionMax)) {
      changes.push({ op: 'patch', table: 'tasks', id: task.id, fields: { desiredState: 'remove' } });
    }
    await this.store.propose(changes);
  }

  private revisionOf(serviceId: ServiceId, spec: ServiceSpec, auth?: RegistryAuth): Draft<Revision> {
    return {
      id: this.newId<RevisionId>(),
      serviceId,
      serviceName: spec.Name,
      serviceLabels: spec.Labels ?? {},
      taskTemplate: spec.TaskTemplate,
      ...(auth === undefined ? {} : { registryAuth: auth }),
    };
  }

  private freeName(view: ClusterView): string {
    const random = this.randomBytes(2);
    for (let attempt = 0; attempt < nameAttemptsMax; attempt++) {
      const name = randomName(random, attempt);
      if (view.serviceByName(name) === undefined) return name;
    }
    throw new EnxameError('conflict', 'no free name was found; give the service a name');
  }

  private async propose(changes: Change[]): Promise<void> {
    try {
      await this.store.propose(changes);
    } catch (error) {
      if (error instanceof EnxameError && error.code === 'version-mismatch') throw outOfSequence(error);
      throw error;
    }
  }
}

/** The spec with what Docker's daemon fills in: a mode, and networks by id wherever they were named. */
function completed(view: ClusterView, spec: ServiceSpec): ServiceSpec {
  const { Networks: outer, ...rest } = spec;
  // Before API 1.44 networks stood beside the task template.
  const inner = rest.TaskTemplate.Networks ?? [];
  const networks = inner.length > 0 ? inner : (outer ?? []);
  const template = {
    ...rest.TaskTemplate,
    ...(networks.length > 0 ? { Networks: networks.map((network) => withId(view, network)) } : {}),
  };
  const mode = rest.Mode ?? {};
  const isReplicated = Object.keys(mode).length === 0 || mode.Replicated !== undefined;
  return {
    ...rest,
    TaskTemplate: template,
    Mode: isReplicated ? { ...mode, Replicated: { Replicas: mode.Replicated?.Replicas ?? 1 } } : mode,
  };
}

function withId(view: ClusterView, attachment: NetworkAttachmentConfig): NetworkAttachmentConfig {
  const target = attachment.Target ?? '';
  if (target === hostNetwork) return attachment;
  const network = findNetwork(view, target);
  if (network === undefined) {
    if (['none', 'bridge'].includes(target)) {
      throw new EnxameError('not-implemented', `a service on the network ${target}: not implemented yet`);
    }
    throw new EnxameError('not-found', `network ${target} not found`);
  }
  if (network.spec.Ingress === true) {
    throw new EnxameError(
      'forbidden',
      `Service cannot be explicitly attached to the ingress network "${network.spec.Name}"`,
    );
  }
  return { ...attachment, Target: network.id };
}

function requireVersion(service: Readonly<Service>, version: number): Readonly<Service> {
  if (service.version !== version) throw outOfSequence();
  return service;
}

export function outOfSequence(cause?: unknown): EnxameError {
  return new EnxameError('version-mismatch', 'rpc error: code = Unknown desc = update out of sequence', {
    cause,
  });
}

function isGlobal(spec: ServiceSpec): boolean {
  return spec.Mode?.Global !== undefined;
}

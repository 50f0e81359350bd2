/** `/secrets` and `/configs`: both nouns have the same routes; only a config's data is ever shown. */
import { anyValue, labelsMatch, parseFilters } from '#libs/docker-api';
import {
  EnxameError,
  type ClusterStore,
  type ClusterView,
  type Config,
  type ConfigId,
  type IdSource,
  type PayloadSpec,
  type Secret,
  type SecretId,
} from '#libs/model';
import {
  Body,
  Controller,
  Delete,
  Get,
  HttpCode,
  Inject,
  Param,
  Post,
  Query,
  type Type,
} from '@nestjs/common';
import { bodyOf } from '../edge/body.js';
import { findPayload, parseVersion } from '../edge/lookup.js';
import { presentMeta } from '../edge/present.js';
import { idSourceToken, storeToken } from '../edge/providers.js';
import { checkPayload, checkPayloadUpdate, type PayloadNoun } from './payload-rules.js';
import { PayloadSpecDto } from './payload-spec.dto.js';

type Payload = Readonly<Secret | Config>;

const filterNames = ['id', 'label', 'name', 'names'];
const tables = { secret: 'secrets', config: 'configs' } as const;

function present(noun: PayloadNoun, payload: Payload): Record<string, unknown> {
  const { Data: data, Templating: templating, Name, Labels } = payload.spec;
  return {
    ...presentMeta(payload),
    Spec: {
      Name,
      Labels: Labels ?? {},
      ...(noun === 'config' ? { Data: data ?? '' } : {}),
      ...(templating === undefined ? {} : { Templating: templating }),
    },
  };
}

function payloadRoutes(noun: PayloadNoun): Type {
  const all = (view: ClusterView): Iterable<Payload> => view[tables[noun]].all();

  @Controller(tables[noun])
  class PayloadsController {
    constructor(
      @Inject(storeToken) private readonly store: ClusterStore,
      @Inject(idSourceToken) private readonly newId: IdSource,
    ) {}

    @Get()
    list(@Query('filters') text: string | undefined): unknown[] {
      const filters = parseFilters(text, filterNames);
      const matches = ({ id, spec }: Payload): boolean =>
        anyValue(filters, 'id', (value) => id.startsWith(value)) &&
        anyValue(filters, 'name', (value) => spec.Name.startsWith(value)) &&
        anyValue(filters, 'names', (value) => spec.Name === value) &&
        labelsMatch(filters, 'label', spec.Labels);
      return [...all(this.store.view())].filter(matches).map((payload) => present(noun, payload));
    }

    @Post('create')
    @HttpCode(201)
    async create(@Body(bodyOf(PayloadSpecDto)) spec: PayloadSpecDto): Promise<unknown> {
      checkPayload(noun, spec);
      const { Driver: _driver, ...own } = spec;
      if (noun === 'secret') {
        const id = this.newId<SecretId>();
        await this.store.propose([{ op: 'put', table: 'secrets', object: { id, spec: own } }]);
        return { ID: id };
      }
      const id = this.newId<ConfigId>();
      await this.store.propose([{ op: 'put', table: 'configs', object: { id, spec: own } }]);
      return { ID: id };
    }

    @Get(':id')
    inspect(@Param('id') reference: string): unknown {
      return present(noun, this.#find(reference));
    }

    /** The store refuses it while a service refers to it. */
    @Delete(':id')
    @HttpCode(204)
    async remove(@Param('id') reference: string): Promise<void> {
      await this.store.propose([
        noun === 'secret'
          ? { op: 'delete', table: 'secrets', id: this.#find(reference).id as SecretId }
          : { op: 'delete', table: 'configs', id: this.#find(reference).id as ConfigId },
      ]);
    }

    @Post(':id/update')
    @HttpCode(200)
    async update(
      @Param('id') reference: string,
      @Query('version') versionText: string | undefined,
      @Body(bodyOf(PayloadSpecDto)) sent: PayloadSpecDto,
    ): Promise<void> {
      const ifVersion = parseVersion(versionText);
      const payload = this.#find(reference);
      checkPayloadUpdate(payload.spec, sent);
      if (payload.version !== ifVersion)
        throw new EnxameError('version-mismatch', 'rpc error: code = Unknown desc = update out of sequence');
      const spec: PayloadSpec = { ...payload.spec, Labels: sent.Labels ?? {} };
      await this.store.propose([
        noun === 'secret'
          ? { op: 'patch', table: 'secrets', id: payload.id as SecretId, fields: { spec }, ifVersion }
          : { op: 'patch', table: 'configs', id: payload.id as ConfigId, fields: { spec }, ifVersion },
      ]);
    }

    #find(reference: string): Payload {
      return findPayload(this.store.view(), noun, reference);
    }
  }
  return PayloadsController;
}

export const SecretsController = payloadRoutes('secret');
export const ConfigsController = payloadRoutes('config');

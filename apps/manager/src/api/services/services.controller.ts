/** `/services`. Logs are streamed beside the framework, see logs/. */
import { labelsMatch, anyValue, parseFilters, parseRegistryAuth, queryFlag } from '#libs/docker-api';
import { EnxameError, type ClusterStore, type Service, type ServiceSpec } from '#libs/model';
import { Body, Controller, Delete, Get, Headers, HttpCode, Inject, Param, Post, Query } from '@nestjs/common';
import { bodyOf } from '../edge/body.js';
import { findService, parseVersion } from '../edge/lookup.js';
import { storeToken } from '../edge/providers.js';
import { ServiceSpecDto } from './service-spec.dto.js';
import { ServiceWriter } from './service-writer.js';
import { presentService } from './service.presenter.js';

const filterNames = ['id', 'label', 'mode', 'name', 'runtime'];

@Controller('services')
export class ServicesController {
  constructor(
    @Inject(storeToken) private readonly store: ClusterStore,
    private readonly writer: ServiceWriter,
  ) {}

  @Get()
  list(@Query() query: Record<string, string>): unknown {
    const filters = parseFilters(query['filters'], filterNames);
    const view = this.store.view();
    const withStatus = queryFlag(new URLSearchParams(query), 'status');
    const matches = ({ id, spec }: Readonly<Service>): boolean =>
      anyValue(filters, 'id', (value) => id.startsWith(value)) &&
      anyValue(filters, 'name', (value) => spec.Name.startsWith(value)) &&
      anyValue(filters, 'mode', (value) => value === modeOf(spec)) &&
      anyValue(filters, 'runtime', (value) => value === (spec.TaskTemplate.Runtime || 'container')) &&
      labelsMatch(filters, 'label', spec.Labels);
    return [...view.services.all()]
      .filter(matches)
      .map((service) => presentService(view, service, { insertDefaults: false, withStatus }));
  }

  @Post('create')
  @HttpCode(201)
  async create(
    @Headers('x-registry-auth') auth: string | undefined,
    @Body(bodyOf(ServiceSpecDto)) spec: ServiceSpec,
  ): Promise<unknown> {
    return { ID: await this.writer.create(spec, parseRegistryAuth(auth)), Warnings: null };
  }

  @Get(':id')
  inspect(@Param('id') id: string, @Query() query: Record<string, string>): unknown {
    const view = this.store.view();
    const insertDefaults = queryFlag(new URLSearchParams(query), 'insertDefaults');
    return presentService(view, findService(view, id), { insertDefaults, withStatus: false });
  }

  @Post(':id/update')
  @HttpCode(200)
  async update(
    @Param('id') id: string,
    @Query('version') versionText: string | undefined,
    @Query('rollback') rollback: string | undefined,
    @Query('registryAuthFrom') authFrom: string | undefined,
    @Headers('x-registry-auth') auth: string | undefined,
    @Body(bodyOf(ServiceSpecDto)) spec: ServiceSpec,
  ): Promise<unknown> {
    const version = parseVersion(versionText);
    if (rollback === 'previous') await this.writer.rollBack(id, version);
    else if (rollback === undefined || rollback === '' || rollback === 'none') {
      await this.writer.update(id, version, spec, {
        auth: parseRegistryAuth(auth),
        isFromPrevious: authFrom === 'previous-spec',
      });
    } else throw new EnxameError('invalid-argument', 'invalid rollback: must be "previous" or "none"');
    return { Warnings: null };
  }

  @Delete(':id')
  @HttpCode(200)
  async remove(@Param('id') id: string): Promise<void> {
    await this.writer.remove(id);
  }
}

function modeOf(spec: ServiceSpec): 'replicated' | 'global' {
  return spec.Mode?.Global === undefined ? 'replicated' : 'global';
}

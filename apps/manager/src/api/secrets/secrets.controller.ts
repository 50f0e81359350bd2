/** `/secrets` and `/configs`: none can exist yet, and the docker CLI asks for lists of them all the same. */
import { parseFilters } from '#libs/docker-api';
import { EnxameError } from '#libs/model';
import { Controller, Delete, Get, Param, Post, Query } from '@nestjs/common';

const filterNames = ['id', 'label', 'name', 'names'];

abstract class EmptyCollection {
  protected abstract readonly noun: 'secret' | 'config';

  protected listNone(filters: string | undefined): unknown[] {
    parseFilters(filters, filterNames);
    return [];
  }

  protected refuse(): never {
    throw new EnxameError('not-implemented', `docker ${this.noun} is not implemented yet`);
  }

  protected absent(id: string): never {
    throw new EnxameError('not-found', `${this.noun} ${id} not found`);
  }
}

@Controller('secrets')
export class SecretsController extends EmptyCollection {
  protected readonly noun = 'secret';

  @Get() list(@Query('filters') filters: string | undefined): unknown[] {
    return this.listNone(filters);
  }
  @Post('create') create(): never {
    return this.refuse();
  }
  @Get(':id') inspect(@Param('id') id: string): never {
    return this.absent(id);
  }
  @Delete(':id') remove(@Param('id') id: string): never {
    return this.absent(id);
  }
  @Post(':id/update') update(@Param('id') id: string): never {
    return this.absent(id);
  }
}

@Controller('configs')
export class ConfigsController extends EmptyCollection {
  protected readonly noun = 'config';

  @Get() list(@Query('filters') filters: string | undefined): unknown[] {
    return this.listNone(filters);
  }
  @Post('create') create(): never {
    return this.refuse();
  }
  @Get(':id') inspect(@Param('id') id: string): never {
    return this.absent(id);
  }
  @Delete(':id') remove(@Param('id') id: string): never {
    return this.absent(id);
  }
  @Post(':id/update') update(@Param('id') id: string): never {
    return this.absent(id);
  }
}

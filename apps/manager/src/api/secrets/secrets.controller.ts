/** `/secrets` and `/configs`: none can exist yet, and the docker CLI asks for lists of them all the same. */
import { parseFilters } from '#libs/docker-api';
import { EnxameError } from '#libs/model';
import { Controller, Delete, Get, Param, Post, Query, type Type } from '@nestjs/common';

const filterNames = ['id', 'label', 'name', 'names'];

/** Both nouns have the same routes. */
function emptyCollection(noun: 'secret' | 'config'): Type {
  @Controller(`${noun}s`)
  class EmptyCollection {
    @Get() list(@Query('filters') filters: string | undefined): unknown[] {
      parseFilters(filters, filterNames);
      return [];
    }
    @Post('create') create(): never {
      throw new EnxameError('not-implemented', `docker ${noun} is not implemented yet`);
    }
    @Get(':id') inspect(@Param('id') id: string): never {
      throw absent(id);
    }
    @Delete(':id') remove(@Param('id') id: string): never {
      throw absent(id);
    }
    @Post(':id/update') update(@Param('id') id: string): never {
      throw absent(id);
    }
  }
  const absent = (id: string): EnxameError => new EnxameError('not-found', `${noun} ${id} not found`);
  return EmptyCollection;
}

export const SecretsController = emptyCollection('secret');
export const ConfigsController = emptyCollection('config');

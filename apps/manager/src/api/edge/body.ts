/** From the bytes of a request to a checked document in Docker's own field names. */
import { readJson, validateBody } from '#libs/docker-api';
import { EnxameError } from '#libs/model';
import { Injectable, type PipeTransform } from '@nestjs/common';
import type { Readable } from 'node:stream';

/** `@Body(bodyOf(ServiceSpecDto)) spec: ServiceSpec`: reads, checks, and drops what the class does not declare. */
export function bodyOf<T extends object>(Dto: new () => T): new () => PipeTransform {
  @Injectable()
  class BodyPipe implements PipeTransform {
    async transform(body: Readable | undefined): Promise<unknown> {
      if (body === undefined || body === null) {
        throw new EnxameError('invalid-argument', 'the request body is empty');
      }
      return plainOf(validateBody(Dto, await readJson(body, undefined)));
    }
  }
  return BodyPipe;
}

/** Plain data without nulls: to Docker's clients an absent field and a null one are the same. */
export function plainOf(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(plainOf);
  if (typeof value !== 'object' || value === null) return value;
  const entries = Object.entries(value).filter(([, member]) => member !== null && member !== undefined);
  return Object.fromEntries(entries.map(([name, member]) => [name, plainOf(member)]));
}

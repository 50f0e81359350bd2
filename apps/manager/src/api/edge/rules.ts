/** Checks that Docker's documents need and class-validator does not bring. Each names its rule in its own words. */
import { applyDecorators } from '@nestjs/common';
import {
  IsArray,
  IsInt,
  IsOptional,
  IsString,
  Max,
  Min,
  registerDecorator,
  type ValidationOptions,
} from 'class-validator';

const labelsMax = 1_000;

/** A map of strings, such as labels: at most 1000 entries. */
export function IsStringMap(options?: ValidationOptions): PropertyDecorator {
  return (target, property) => {
    registerDecorator({
      name: 'isStringMap',
      target: target.constructor,
      propertyName: String(property),
      ...(options === undefined ? {} : { options }),
      validator: {
        validate: (value: unknown) =>
          typeof value === 'object' &&
          value !== null &&
          !Array.isArray(value) &&
          Object.keys(value).length <= labelsMax &&
          Object.values(value).every((member) => typeof member === 'string'),
        defaultMessage: () => `must be a map of at most ${labelsMax} strings`,
      },
    });
  };
}

export const OptionalString = (): PropertyDecorator => applyDecorators(IsOptional(), IsString());

export const OptionalStrings = (): PropertyDecorator =>
  applyDecorators(IsOptional(), IsArray(), IsString({ each: true }));

export const OptionalMap = (): PropertyDecorator => applyDecorators(IsOptional(), IsStringMap());

/** A whole number from `min` to `max`; the largest is the largest that JavaScript keeps exact. */
export const OptionalInteger = (min = 0, max = Number.MAX_SAFE_INTEGER): PropertyDecorator =>
  applyDecorators(IsOptional(), IsInt(), Min(min), Max(max));

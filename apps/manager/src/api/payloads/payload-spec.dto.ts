/** The body of `POST /secrets/create`, `/configs/create` and their updates. */
import { Allow, IsObject, IsOptional, IsString, ValidateNested } from 'class-validator';
import { Type } from 'class-transformer';
import { OptionalMap, OptionalString } from '../edge/rules.js';

class DriverDto {
  @OptionalString() Name?: string;
  @OptionalMap() Options?: Record<string, string>;
}

export class PayloadSpecDto {
  @IsString() Name!: string;
  @OptionalMap() Labels?: Record<string, string>;
  /** Base64. */
  @OptionalString() Data?: string;
  /** Secrets that a plugin holds. */
  @Allow() Driver?: unknown;
  @IsOptional() @IsObject() @ValidateNested() @Type(() => DriverDto) Templating?: DriverDto;
}

/** The body of `POST /networks/create`. What is declared and not there yet is refused by name. */
import { Type } from 'class-transformer';
import {
  IsArray,
  IsBoolean,
  IsObject,
  IsOptional,
  IsString,
  Matches,
  MaxLength,
  ValidateNested,
} from 'class-validator';
import { OptionalMap, OptionalString } from '../edge/rules.js';

const namePattern = /^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/;
const cidrPattern = /^[0-9a-fA-F.:]+\/\d{1,3}$/;

class IpamConfigDto {
  @IsOptional() @Matches(cidrPattern, { message: 'must be a subnet in CIDR form' }) Subnet?: string;
  @OptionalString() IPRange?: string;
  @OptionalString() Gateway?: string;
  @OptionalMap() AuxiliaryAddresses?: Record<string, string>;
}

class IpamDto {
  @OptionalString() Driver?: string;
  @IsOptional()
  @IsArray()
  @ValidateNested({ each: true })
  @Type(() => IpamConfigDto)
  Config?: IpamConfigDto[];
  @OptionalMap() Options?: Record<string, string>;
}

class ConfigFromDto {
  @OptionalString() Network?: string;
}

export class NetworkCreateDto {
  @IsString()
  @MaxLength(255)
  @Matches(namePattern, { message: 'only [a-zA-Z0-9][a-zA-Z0-9_.-]* is allowed' })
  Name!: string;
  @OptionalString() Driver?: string;
  @OptionalString() Scope?: string;
  @IsOptional() @IsBoolean() Internal?: boolean;
  @IsOptional() @IsBoolean() Attachable?: boolean;
  @IsOptional() @IsBoolean() Ingress?: boolean;
  @IsOptional() @IsBoolean() ConfigOnly?: boolean;
  @IsOptional() @IsObject() @ValidateNested() @Type(() => ConfigFromDto) ConfigFrom?: ConfigFromDto;
  @IsOptional() @IsObject() @ValidateNested() @Type(() => IpamDto) IPAM?: IpamDto;
  @IsOptional() @IsBoolean() EnableIPv4?: boolean;
  @IsOptional() @IsBoolean() EnableIPv6?: boolean;
  @OptionalMap() Options?: Record<string, string>;
  @OptionalMap() Labels?: Record<string, string>;
}

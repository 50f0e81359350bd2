/**
 * The body of `POST /services/create` and `/services/{id}/update`: types, ranges and words that a value may be.
 * Rules between fields are in service-rules.ts. Fields that Docker has and this version does not are declared, so
 * that they are refused by name instead of ignored.
 */
import { Type } from 'class-transformer';
import {
  Allow,
  IsArray,
  IsIn,
  IsNumber,
  IsObject,
  IsOptional,
  IsString,
  Max,
  Min,
  ValidateNested,
} from 'class-validator';
import { OptionalInteger, OptionalMap, OptionalString, OptionalStrings } from '../edge/rules.js';
import { ContainerSpecDto } from './container-spec.dto.js';

const updateOrders = ['stop-first', 'start-first', ''];

export class NetworkAttachmentDto {
  @OptionalString() Target?: string;
  @OptionalStrings() Aliases?: string[];
  @OptionalMap() DriverOpts?: Record<string, string>;
}

class LimitsDto {
  @OptionalInteger() NanoCPUs?: number;
  @OptionalInteger() MemoryBytes?: number;
  @OptionalInteger() Pids?: number;
}

class ReservationsDto {
  @OptionalInteger() NanoCPUs?: number;
  @OptionalInteger() MemoryBytes?: number;
  @IsOptional() @IsArray() GenericResources?: unknown[];
}

class ResourcesDto {
  @IsOptional() @IsObject() @ValidateNested() @Type(() => LimitsDto) Limits?: LimitsDto;
  @IsOptional() @IsObject() @ValidateNested() @Type(() => ReservationsDto) Reservations?: ReservationsDto;
}

class RestartPolicyDto {
  @IsOptional() @IsIn(['none', 'on-failure', 'any', '']) Condition?: string;
  @OptionalInteger() Delay?: number;
  @OptionalInteger() MaxAttempts?: number;
  @OptionalInteger() Window?: number;
}

class SpreadDto {
  @OptionalString() SpreadDescriptor?: string;
}

class PreferenceDto {
  @IsOptional() @IsObject() @ValidateNested() @Type(() => SpreadDto) Spread?: SpreadDto;
}

class PlatformDto {
  @OptionalString() OS?: string;
  @OptionalString() Architecture?: string;
}

class PlacementDto {
  @OptionalStrings() Constraints?: string[];
  @IsOptional()
  @IsArray()
  @ValidateNested({ each: true })
  @Type(() => PreferenceDto)
  Preferences?: PreferenceDto[];
  @OptionalInteger() MaxReplicas?: number;
  @IsOptional() @IsArray() @ValidateNested({ each: true }) @Type(() => PlatformDto) Platforms?: PlatformDto[];
}

class LogDriverDto {
  @OptionalString() Name?: string;
  @OptionalMap() Options?: Record<string, string>;
}

export class TaskSpecDto {
  @IsOptional() @IsObject() @ValidateNested() @Type(() => ContainerSpecDto) ContainerSpec?: ContainerSpecDto;
  @Allow() PluginSpec?: unknown;
  @Allow() NetworkAttachmentSpec?: unknown;
  @IsOptional() @IsObject() @ValidateNested() @Type(() => ResourcesDto) Resources?: ResourcesDto;
  @IsOptional() @IsObject() @ValidateNested() @Type(() => RestartPolicyDto) RestartPolicy?: RestartPolicyDto;
  @IsOptional() @IsObject() @ValidateNested() @Type(() => PlacementDto) Placement?: PlacementDto;
  @IsOptional()
  @IsArray()
  @ValidateNested({ each: true })
  @Type(() => NetworkAttachmentDto)
  Networks?: NetworkAttachmentDto[];
  @IsOptional() @IsObject() @ValidateNested() @Type(() => LogDriverDto) LogDriver?: LogDriverDto;
  @OptionalInteger() ForceUpdate?: number;
  @OptionalString() Runtime?: string;
}

/** More tasks than this in one service is a slip of the keyboard. */
export const replicasMax = 50_000;

class ReplicatedDto {
  @OptionalInteger(0, replicasMax) Replicas?: number;
}

class ModeDto {
  @IsOptional() @IsObject() @ValidateNested() @Type(() => ReplicatedDto) Replicated?: ReplicatedDto;
  @IsOptional() @IsObject() Global?: object;
  @IsOptional() @IsObject() ReplicatedJob?: object;
  @IsOptional() @IsObject() GlobalJob?: object;
}

class UpdateConfigDto {
  @OptionalInteger() Parallelism?: number;
  @OptionalInteger() Delay?: number;
  @IsOptional() @IsIn(['pause', 'continue', 'rollback', '']) FailureAction?: string;
  @OptionalInteger() Monitor?: number;
  @IsOptional() @IsNumber() @Min(0) @Max(1) MaxFailureRatio?: number;
  @IsOptional() @IsIn(updateOrders) Order?: string;
}

class RollbackConfigDto extends UpdateConfigDto {
  // A rollback that fails has nothing left to roll back to.
  @IsIn(['pause', 'continue', '']) override FailureAction?: string;
}

class PortDto {
  @OptionalString() Name?: string;
  @IsOptional() @IsIn(['tcp', 'udp', 'sctp']) Protocol?: string;
  @OptionalInteger(1, 65_535) TargetPort?: number;
  @OptionalInteger(0, 65_535) PublishedPort?: number;
  @IsOptional() @IsIn(['ingress', 'host']) PublishMode?: string;
}

class EndpointDto {
  @IsOptional() @IsIn(['vip', 'dnsrr', '']) Mode?: string;
  @IsOptional() @IsArray() @ValidateNested({ each: true }) @Type(() => PortDto) Ports?: PortDto[];
}

export class ServiceSpecDto {
  @IsOptional() @IsString() Name?: string;
  @OptionalMap() Labels?: Record<string, string>;
  @IsObject() @ValidateNested() @Type(() => TaskSpecDto) TaskTemplate!: TaskSpecDto;
  @IsOptional() @IsObject() @ValidateNested() @Type(() => ModeDto) Mode?: ModeDto;
  @IsOptional() @IsObject() @ValidateNested() @Type(() => UpdateConfigDto) UpdateConfig?: UpdateConfigDto;
  @IsOptional()
  @IsObject()
  @ValidateNested()
  @Type(() => RollbackConfigDto)
  RollbackConfig?: RollbackConfigDto;
  @IsOptional() @IsObject() @ValidateNested() @Type(() => EndpointDto) EndpointSpec?: EndpointDto;
  @IsOptional()
  @IsArray()
  @ValidateNested({ each: true })
  @Type(() => NetworkAttachmentDto)
  Networks?: NetworkAttachmentDto[];
}

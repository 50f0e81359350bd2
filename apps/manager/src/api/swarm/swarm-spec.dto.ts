/** The body of `POST /swarm/update`. */
import { Type } from 'class-transformer';
import { Allow, IsArray, IsBoolean, IsObject, IsOptional, Min, ValidateNested, IsInt } from 'class-validator';
import { OptionalInteger, OptionalMap, OptionalString } from '../edge/rules.js';

const certificateLifeMin = 3_600_000_000_000;

class OrchestrationDto {
  @OptionalInteger() TaskHistoryRetentionLimit?: number;
}

class RaftDto {
  @OptionalInteger() SnapshotInterval?: number;
  @OptionalInteger() KeepOldSnapshots?: number;
  @OptionalInteger() LogEntriesForSlowFollowers?: number;
  @OptionalInteger() ElectionTick?: number;
  @OptionalInteger() HeartbeatTick?: number;
}

class DispatcherDto {
  @OptionalInteger() HeartbeatPeriod?: number;
}

class CaConfigDto {
  @IsOptional() @IsInt() @Min(certificateLifeMin) NodeCertExpiry?: number;
  @IsOptional() @IsArray() ExternalCAs?: unknown[];
  @OptionalString() SigningCACert?: string;
  @OptionalString() SigningCAKey?: string;
  @OptionalInteger() ForceRotate?: number;
}

class EncryptionDto {
  @IsOptional() @IsBoolean() AutoLockManagers?: boolean;
}

class LogDriverDto {
  @OptionalString() Name?: string;
  @OptionalMap() Options?: Record<string, string>;
}

class TaskDefaultsDto {
  @IsOptional() @IsObject() @ValidateNested() @Type(() => LogDriverDto) LogDriver?: LogDriverDto;
}

export class SwarmSpecDto {
  @OptionalString() Name?: string;
  @OptionalMap() Labels?: Record<string, string>;
  @IsOptional() @IsObject() @ValidateNested() @Type(() => OrchestrationDto) Orchestration?: OrchestrationDto;
  @IsOptional() @IsObject() @ValidateNested() @Type(() => RaftDto) Raft?: RaftDto;
  @IsOptional() @IsObject() @ValidateNested() @Type(() => DispatcherDto) Dispatcher?: DispatcherDto;
  @IsOptional() @IsObject() @ValidateNested() @Type(() => CaConfigDto) CAConfig?: CaConfigDto;
  @IsOptional() @IsObject() @ValidateNested() @Type(() => EncryptionDto) EncryptionConfig?: EncryptionDto;
  @IsOptional() @IsObject() @ValidateNested() @Type(() => TaskDefaultsDto) TaskDefaults?: TaskDefaultsDto;
  @Allow() JoinTokens?: unknown;
}

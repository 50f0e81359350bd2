/** `TaskTemplate.ContainerSpec` of a service. */
import { Type } from 'class-transformer';
import {
  Allow,
  IsArray,
  IsBoolean,
  IsIn,
  IsObject,
  IsOptional,
  IsString,
  ValidateNested,
} from 'class-validator';
import { OptionalInteger, OptionalMap, OptionalString, OptionalStrings } from '../edge/rules.js';

class SeccompDto {
  @IsOptional() @IsIn(['default', 'unconfined', 'custom', '']) Mode?: string;
  /** Base64 of the profile. */
  @OptionalString() Profile?: string;
}

class AppArmorDto {
  @IsOptional() @IsIn(['default', 'disabled', '']) Mode?: string;
}

class PrivilegesDto {
  @Allow() CredentialSpec?: unknown;
  @Allow() SELinuxContext?: unknown;
  @IsOptional() @IsObject() @ValidateNested() @Type(() => SeccompDto) Seccomp?: SeccompDto;
  @IsOptional() @IsObject() @ValidateNested() @Type(() => AppArmorDto) AppArmor?: AppArmorDto;
  @IsOptional() @IsBoolean() NoNewPrivileges?: boolean;
}

class BindOptionsDto {
  @IsOptional()
  @IsIn(['', 'private', 'rprivate', 'shared', 'rshared', 'slave', 'rslave'])
  Propagation?: string;
  @IsOptional() @IsBoolean() NonRecursive?: boolean;
  @IsOptional() @IsBoolean() CreateMountpoint?: boolean;
  @IsOptional() @IsBoolean() ReadOnlyNonRecursive?: boolean;
  @IsOptional() @IsBoolean() ReadOnlyForceRecursive?: boolean;
}

class DriverConfigDto {
  @OptionalString() Name?: string;
  @OptionalMap() Options?: Record<string, string>;
}

class VolumeOptionsDto {
  @IsOptional() @IsBoolean() NoCopy?: boolean;
  @OptionalMap() Labels?: Record<string, string>;
  @IsOptional() @IsObject() @ValidateNested() @Type(() => DriverConfigDto) DriverConfig?: DriverConfigDto;
  @OptionalString() Subpath?: string;
}

class TmpfsOptionsDto {
  @OptionalInteger() SizeBytes?: number;
  @OptionalInteger(0, 0o7777) Mode?: number;
  @IsOptional() @IsArray() Options?: unknown[];
}

class MountDto {
  @IsString() Target!: string;
  @OptionalString() Source?: string;
  @IsIn(['bind', 'volume', 'tmpfs', 'npipe', 'cluster', 'image']) Type!: string;
  @IsOptional() @IsBoolean() ReadOnly?: boolean;
  @OptionalString() Consistency?: string;
  @IsOptional() @IsObject() @ValidateNested() @Type(() => BindOptionsDto) BindOptions?: BindOptionsDto;
  @IsOptional() @IsObject() @ValidateNested() @Type(() => VolumeOptionsDto) VolumeOptions?: VolumeOptionsDto;
  @IsOptional() @IsObject() @ValidateNested() @Type(() => TmpfsOptionsDto) TmpfsOptions?: TmpfsOptionsDto;
}

class HealthDto {
  @OptionalStrings() Test?: string[];
  @OptionalInteger() Interval?: number;
  @OptionalInteger() Timeout?: number;
  @OptionalInteger() StartPeriod?: number;
  @OptionalInteger() StartInterval?: number;
  @OptionalInteger() Retries?: number;
}

class DnsDto {
  @OptionalStrings() Nameservers?: string[];
  @OptionalStrings() Search?: string[];
  @OptionalStrings() Options?: string[];
}

class UlimitDto {
  @IsString() Name!: string;
  /** -1 is unlimited. */
  @OptionalInteger(-1) Soft?: number;
  @OptionalInteger(-1) Hard?: number;
}

class FileTargetDto {
  @OptionalString() Name?: string;
  @OptionalString() UID?: string;
  @OptionalString() GID?: string;
  @OptionalInteger(0, 0o7777) Mode?: number;
}

class SecretReferenceDto {
  @OptionalString() SecretID?: string;
  @OptionalString() SecretName?: string;
  @IsOptional() @IsObject() @ValidateNested() @Type(() => FileTargetDto) File?: FileTargetDto;
}

class ConfigReferenceDto {
  @OptionalString() ConfigID?: string;
  @OptionalString() ConfigName?: string;
  @IsOptional() @IsObject() @ValidateNested() @Type(() => FileTargetDto) File?: FileTargetDto;
}

export class ContainerSpecDto {
  @OptionalString() Image?: string;
  @OptionalMap() Labels?: Record<string, string>;
  @OptionalStrings() Command?: string[];
  @OptionalStrings() Args?: string[];
  @OptionalString() Hostname?: string;
  @OptionalStrings() Env?: string[];
  @OptionalString() Dir?: string;
  @OptionalString() User?: string;
  @OptionalStrings() Groups?: string[];
  @IsOptional() @IsObject() @ValidateNested() @Type(() => PrivilegesDto) Privileges?: PrivilegesDto;
  @IsOptional() @IsBoolean() TTY?: boolean;
  @IsOptional() @IsBoolean() OpenStdin?: boolean;
  @IsOptional() @IsBoolean() ReadOnly?: boolean;
  @IsOptional() @IsArray() @ValidateNested({ each: true }) @Type(() => MountDto) Mounts?: MountDto[];
  @OptionalString() StopSignal?: string;
  @OptionalInteger() StopGracePeriod?: number;
  @IsOptional() @IsObject() @ValidateNested() @Type(() => HealthDto) Healthcheck?: HealthDto;
  @OptionalStrings() Hosts?: string[];
  @IsOptional() @IsObject() @ValidateNested() @Type(() => DnsDto) DNSConfig?: DnsDto;
  @IsOptional()
  @IsArray()
  @ValidateNested({ each: true })
  @Type(() => SecretReferenceDto)
  Secrets?: SecretReferenceDto[];
  @IsOptional()
  @IsArray()
  @ValidateNested({ each: true })
  @Type(() => ConfigReferenceDto)
  Configs?: ConfigReferenceDto[];
  @OptionalInteger(-1000, 1000) OomScoreAdj?: number;
  @OptionalString() Isolation?: string;
  @IsOptional() @IsBoolean() Init?: boolean;
  @OptionalMap() Sysctls?: Record<string, string>;
  @OptionalStrings() CapabilityAdd?: string[];
  @OptionalStrings() CapabilityDrop?: string[];
  @IsOptional() @IsArray() @ValidateNested({ each: true }) @Type(() => UlimitDto) Ulimits?: UlimitDto[];
}

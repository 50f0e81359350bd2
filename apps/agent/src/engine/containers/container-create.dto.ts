/** The body of `POST /containers/create`, as far as this version has it. */
import { Type } from 'class-transformer';
import {
  Allow,
  ArrayMaxSize,
  IsArray,
  IsBoolean,
  IsIn,
  IsInt,
  IsObject,
  IsOptional,
  IsString,
  Max,
  Min,
  ValidateNested,
} from 'class-validator';

const listItemsMax = 10_000;

export class HealthcheckDto {
  @IsOptional() @IsArray() @IsString({ each: true }) Test?: string[] | null;
  @IsOptional() @IsInt() @Min(0) Interval?: number;
  @IsOptional() @IsInt() @Min(0) Timeout?: number;
  @IsOptional() @IsInt() @Min(0) StartPeriod?: number;
  @IsOptional() @IsInt() @Min(0) StartInterval?: number;
  @IsOptional() @IsInt() @Min(0) Retries?: number;
}

class BindOptionsDto {
  @IsOptional() @IsString() Propagation?: string;
  @IsOptional() @IsBoolean() NonRecursive?: boolean;
  @IsOptional() @IsBoolean() CreateMountpoint?: boolean;
}

class VolumeOptionsDto {
  @IsOptional() @IsBoolean() NoCopy?: boolean;
  @IsOptional() @IsObject() Labels?: Record<string, string> | null;
  @Allow() DriverConfig?: unknown;
  @IsOptional() @IsString() Subpath?: string;
}

class TmpfsOptionsDto {
  @IsOptional() @IsInt() @Min(0) SizeBytes?: number;
  @IsOptional() @IsInt() @Min(0) @Max(0o7777) Mode?: number;
}

export class MountDto {
  @IsIn(['bind', 'volume', 'tmpfs', 'npipe', 'cluster', 'image']) Type!: string;
  @IsString() Target!: string;
  @IsOptional() @IsString() Source?: string;
  @IsOptional() @IsBoolean() ReadOnly?: boolean;
  @IsOptional() @IsObject() @ValidateNested() @Type(() => BindOptionsDto) BindOptions?: BindOptionsDto | null;
  @IsOptional()
  @IsObject()
  @ValidateNested()
  @Type(() => VolumeOptionsDto)
  VolumeOptions?: VolumeOptionsDto | null;
  @IsOptional()
  @IsObject()
  @ValidateNested()
  @Type(() => TmpfsOptionsDto)
  TmpfsOptions?: TmpfsOptionsDto | null;
}

export class UlimitDto {
  @IsString() Name!: string;
  @IsInt() Soft!: number;
  @IsInt() Hard!: number;
}

class LogConfigDto {
  @IsOptional() @IsString() Type?: string;
  @IsOptional() @IsObject() Config?: Record<string, string> | null;
}

class RestartPolicyDto {
  @IsOptional() @IsString() Name?: string;
  @IsOptional() @IsInt() MaximumRetryCount?: number;
}

export class HostConfigDto {
  @IsOptional() @IsArray() @ArrayMaxSize(listItemsMax) @IsString({ each: true }) Binds?: string[] | null;
  @IsOptional() @IsObject() @ValidateNested() @Type(() => LogConfigDto) LogConfig?: LogConfigDto | null;
  @IsOptional() @IsString() NetworkMode?: string;
  @IsOptional()
  @IsObject()
  @ValidateNested()
  @Type(() => RestartPolicyDto)
  RestartPolicy?: RestartPolicyDto | null;
  @IsOptional() @IsBoolean() AutoRemove?: boolean;
  @IsOptional() @IsArray() @ValidateNested({ each: true }) @Type(() => MountDto) Mounts?: MountDto[] | null;
  @IsOptional() @IsArray() @IsString({ each: true }) CapAdd?: string[] | null;
  @IsOptional() @IsArray() @IsString({ each: true }) CapDrop?: string[] | null;
  @IsOptional() @IsArray() @IsString({ each: true }) Dns?: string[] | null;
  @IsOptional() @IsArray() @IsString({ each: true }) DnsOptions?: string[] | null;
  @IsOptional() @IsArray() @IsString({ each: true }) DnsSearch?: string[] | null;
  @IsOptional() @IsArray() @IsString({ each: true }) ExtraHosts?: string[] | null;
  @IsOptional() @IsArray() @IsString({ each: true }) GroupAdd?: string[] | null;
  @IsOptional() @IsInt() @Min(-1000) @Max(1000) OomScoreAdj?: number;
  @IsOptional() @IsBoolean() ReadonlyRootfs?: boolean;
  @IsOptional() @IsArray() @IsString({ each: true }) SecurityOpt?: string[] | null;
  @IsOptional() @IsObject() Tmpfs?: Record<string, string> | null;
  @IsOptional() @IsInt() @Min(0) ShmSize?: number;
  @IsOptional() @IsObject() Sysctls?: Record<string, string> | null;
  @IsOptional() @IsInt() @Min(0) CpuShares?: number;
  @IsOptional() @IsInt() @Min(0) Memory?: number;
  @IsOptional() @IsInt() @Min(-1) MemorySwap?: number;
  @IsOptional() @IsInt() @Min(0) NanoCpus?: number;
  @IsOptional() @IsString() CpusetCpus?: string;
  @IsOptional() @IsBoolean() Init?: boolean | null;
  @IsOptional() @IsInt() @Min(-1) PidsLimit?: number | null;
  @IsOptional() @IsArray() @ValidateNested({ each: true }) @Type(() => UlimitDto) Ulimits?:
    | UlimitDto[]
    | null;
}

export class ContainerCreateDto {
  @IsOptional() @IsString() Hostname?: string;
  @IsOptional() @IsString() User?: string;
  @IsOptional() @IsBoolean() Tty?: boolean;
  @IsOptional() @IsBoolean() OpenStdin?: boolean;
  @IsOptional() @IsBoolean() StdinOnce?: boolean;
  @IsOptional() @IsArray() @ArrayMaxSize(listItemsMax) @IsString({ each: true }) Env?: string[] | null;
  @IsOptional() @IsArray() @IsString({ each: true }) Cmd?: string[] | null;
  @IsOptional() @IsArray() @IsString({ each: true }) Entrypoint?: string[] | null;
  @IsOptional() @IsObject() @ValidateNested() @Type(() => HealthcheckDto) Healthcheck?: HealthcheckDto | null;
  @IsString() Image!: string;
  @IsOptional() @IsObject() Volumes?: Record<string, unknown> | null;
  @IsOptional() @IsString() WorkingDir?: string;
  @IsOptional() @IsObject() Labels?: Record<string, string> | null;
  @IsOptional() @IsString() StopSignal?: string;
  @IsOptional() @IsInt() @Min(-1) StopTimeout?: number | null;
  @IsOptional() @IsObject() @ValidateNested() @Type(() => HostConfigDto) HostConfig?: HostConfigDto | null;
}

/** The bodies of `POST /containers/create` and `/containers/:id/update`. */
import { Transform, Type } from 'class-transformer';
import {
  Allow,
  ArrayMaxSize,
  IsArray,
  IsBoolean,
  IsInt,
  IsNumber,
  IsObject,
  IsOptional,
  IsString,
  Max,
  Min,
  ValidateNested,
} from 'class-validator';

const listItemsMax = 10_000;

/** Docker takes one text for a list of one. */
function TextOrList(): PropertyDecorator {
  return Transform(({ value }: { value: unknown }) => (typeof value === 'string' ? [value] : value));
}

export class HealthcheckDto {
  @IsOptional() @IsArray() @IsString({ each: true }) Test?: string[] | null;
  @IsOptional() @IsInt() Interval?: number;
  @IsOptional() @IsInt() Timeout?: number;
  @IsOptional() @IsInt() StartPeriod?: number;
  @IsOptional() @IsInt() StartInterval?: number;
  @IsOptional() @IsInt() Retries?: number;
}

class BindOptionsDto {
  @IsOptional() @IsString() Propagation?: string;
  @IsOptional() @IsBoolean() NonRecursive?: boolean;
  @IsOptional() @IsBoolean() CreateMountpoint?: boolean;
  @IsOptional() @IsBoolean() ReadOnlyNonRecursive?: boolean;
  @IsOptional() @IsBoolean() ReadOnlyForceRecursive?: boolean;
}

class DriverConfigDto {
  @IsOptional() @IsString() Name?: string;
  @IsOptional() @IsObject() Options?: Record<string, string> | null;
}

class VolumeOptionsDto {
  @IsOptional() @IsBoolean() NoCopy?: boolean;
  @IsOptional() @IsObject() Labels?: Record<string, string> | null;
  @IsOptional()
  @IsObject()
  @ValidateNested()
  @Type(() => DriverConfigDto)
  DriverConfig?: DriverConfigDto | null;
  @IsOptional() @IsString() Subpath?: string;
}

class TmpfsOptionsDto {
  @IsOptional() @IsInt() @Min(0) SizeBytes?: number;
  @IsOptional() @IsInt() @Min(0) @Max(0o7777) Mode?: number;
  @IsOptional() @IsArray() Options?: string[][] | null;
}

class ImageOptionsDto {
  @IsOptional() @IsString() Subpath?: string;
}

export class MountDto {
  @IsOptional() @IsString() Type?: string;
  @IsOptional() @IsString() Target?: string;
  @IsOptional() @IsString() Source?: string;
  @IsOptional() @IsBoolean() ReadOnly?: boolean;
  @IsOptional() @IsString() Consistency?: string;
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
  @IsOptional()
  @IsObject()
  @ValidateNested()
  @Type(() => ImageOptionsDto)
  ImageOptions?: ImageOptionsDto | null;
}

export class UlimitDto {
  @IsString() Name!: string;
  @IsOptional() @IsInt() Soft?: number;
  @IsOptional() @IsInt() Hard?: number;
}

class LogConfigDto {
  @IsOptional() @IsString() Type?: string;
  @IsOptional() @IsObject() Config?: Record<string, string> | null;
}

export class RestartPolicyDto {
  @IsOptional() @IsString() Name?: string;
  @IsOptional() @IsInt() MaximumRetryCount?: number;
}

export class DeviceDto {
  @IsOptional() @IsString() PathOnHost?: string;
  @IsOptional() @IsString() PathInContainer?: string;
  @IsOptional() @IsString() CgroupPermissions?: string;
}

export class ThrottleDeviceDto {
  @IsString() Path!: string;
  @IsOptional() @IsInt() @Min(0) Rate?: number;
}

export class WeightDeviceDto {
  @IsString() Path!: string;
  @IsOptional() @IsInt() @Min(0) Weight?: number;
}

/** Limits: at creation as part of HostConfig, and alone in an update. */
export class ResourcesDto {
  @IsOptional() @IsInt() CpuShares?: number;
  @IsOptional() @IsInt() Memory?: number;
  @IsOptional() @IsInt() NanoCpus?: number;
  @IsOptional() @IsString() CgroupParent?: string;
  @IsOptional() @IsInt() BlkioWeight?: number;
  @IsOptional() @IsArray() @ValidateNested({ each: true }) @Type(() => WeightDeviceDto) BlkioWeightDevice?:
    | WeightDeviceDto[]
    | null;
  @IsOptional()
  @IsArray()
  @ValidateNested({ each: true })
  @Type(() => ThrottleDeviceDto)
  BlkioDeviceReadBps?: ThrottleDeviceDto[] | null;
  @IsOptional()
  @IsArray()
  @ValidateNested({ each: true })
  @Type(() => ThrottleDeviceDto)
  BlkioDeviceWriteBps?: ThrottleDeviceDto[] | null;
  @IsOptional()
  @IsArray()
  @ValidateNested({ each: true })
  @Type(() => ThrottleDeviceDto)
  BlkioDeviceReadIOps?: ThrottleDeviceDto[] | null;
  @IsOptional()
  @IsArray()
  @ValidateNested({ each: true })
  @Type(() => ThrottleDeviceDto)
  BlkioDeviceWriteIOps?: ThrottleDeviceDto[] | null;
  @IsOptional() @IsInt() CpuPeriod?: number;
  @IsOptional() @IsInt() CpuQuota?: number;
  @IsOptional() @IsInt() CpuRealtimePeriod?: number;
  @IsOptional() @IsInt() CpuRealtimeRuntime?: number;
  @IsOptional() @IsString() CpusetCpus?: string;
  @IsOptional() @IsString() CpusetMems?: string;
  @IsOptional() @IsArray() @ValidateNested({ each: true }) @Type(() => DeviceDto) Devices?:
    | DeviceDto[]
    | null;
  @IsOptional() @IsArray() @IsString({ each: true }) DeviceCgroupRules?: string[] | null;
  @IsOptional() @IsArray() DeviceRequests?: unknown[] | null;
  @IsOptional() @IsInt() MemoryReservation?: number;
  @IsOptional() @IsInt() MemorySwap?: number;
  @IsOptional() @IsInt() MemorySwappiness?: number | null;
  @IsOptional() @IsBoolean() OomKillDisable?: boolean | null;
  @IsOptional() @IsInt() PidsLimit?: number | null;
  @IsOptional() @IsArray() @ValidateNested({ each: true }) @Type(() => UlimitDto) Ulimits?:
    | UlimitDto[]
    | null;
  @IsOptional() @IsInt() CpuCount?: number;
  @IsOptional() @IsInt() CpuPercent?: number;
  @IsOptional() @IsInt() IOMaximumIOps?: number;
  @IsOptional() @IsInt() IOMaximumBandwidth?: number;
}

export class ContainerUpdateDto extends ResourcesDto {
  @IsOptional()
  @IsObject()
  @ValidateNested()
  @Type(() => RestartPolicyDto)
  RestartPolicy?: RestartPolicyDto | null;
}

export class HostConfigDto extends ContainerUpdateDto {
  @IsOptional() @IsArray() @ArrayMaxSize(listItemsMax) @IsString({ each: true }) Binds?: string[] | null;
  @IsOptional() @IsString() ContainerIDFile?: string;
  @IsOptional() @IsObject() @ValidateNested() @Type(() => LogConfigDto) LogConfig?: LogConfigDto | null;
  @IsOptional() @IsString() NetworkMode?: string;
  @IsOptional() @IsObject() PortBindings?: Record<string, unknown> | null;
  @IsOptional() @IsBoolean() AutoRemove?: boolean;
  @IsOptional() @IsString() VolumeDriver?: string;
  @IsOptional() @IsArray() @IsString({ each: true }) VolumesFrom?: string[] | null;
  @IsOptional() @IsArray() @IsNumber({}, { each: true }) ConsoleSize?: number[] | null;
  @IsOptional() @IsObject() Annotations?: Record<string, string> | null;
  @IsOptional() @IsArray() @ValidateNested({ each: true }) @Type(() => MountDto) Mounts?: MountDto[] | null;
  @TextOrList() @IsOptional() @IsArray() @IsString({ each: true }) CapAdd?: string[] | null;
  @TextOrList() @IsOptional() @IsArray() @IsString({ each: true }) CapDrop?: string[] | null;
  @IsOptional() @IsString() CgroupnsMode?: string;
  @IsOptional() @IsArray() @IsString({ each: true }) Dns?: string[] | null;
  @IsOptional() @IsArray() @IsString({ each: true }) DnsOptions?: string[] | null;
  @IsOptional() @IsArray() @IsString({ each: true }) DnsSearch?: string[] | null;
  @IsOptional() @IsArray() @IsString({ each: true }) ExtraHosts?: string[] | null;
  @IsOptional() @IsArray() @IsString({ each: true }) GroupAdd?: string[] | null;
  @IsOptional() @IsString() IpcMode?: string;
  @IsOptional() @IsString() Cgroup?: string;
  @IsOptional() @IsArray() @IsString({ each: true }) Links?: string[] | null;
  @IsOptional() @IsInt() OomScoreAdj?: number;
  @IsOptional() @IsString() PidMode?: string;
  @IsOptional() @IsBoolean() Privileged?: boolean;
  @IsOptional() @IsBoolean() PublishAllPorts?: boolean;
  @IsOptional() @IsBoolean() ReadonlyRootfs?: boolean;
  @IsOptional() @IsArray() @IsString({ each: true }) SecurityOpt?: string[] | null;
  @IsOptional() @IsObject() StorageOpt?: Record<string, string> | null;
  @IsOptional() @IsObject() Tmpfs?: Record<string, string> | null;
  @IsOptional() @IsString() UTSMode?: string;
  @IsOptional() @IsString() UsernsMode?: string;
  @IsOptional() @IsInt() ShmSize?: number;
  @IsOptional() @IsObject() Sysctls?: Record<string, string> | null;
  @IsOptional() @IsString() Runtime?: string;
  @IsOptional() @IsString() Isolation?: string;
  @IsOptional() @IsBoolean() Init?: boolean | null;
  @IsOptional() @IsArray() @IsString({ each: true }) MaskedPaths?: string[] | null;
  @IsOptional() @IsArray() @IsString({ each: true }) ReadonlyPaths?: string[] | null;
}

export class ContainerCreateDto {
  @IsOptional() @IsString() Hostname?: string;
  @IsOptional() @IsString() Domainname?: string;
  @IsOptional() @IsString() User?: string;
  @IsOptional() @IsBoolean() AttachStdin?: boolean;
  @IsOptional() @IsBoolean() AttachStdout?: boolean;
  @IsOptional() @IsBoolean() AttachStderr?: boolean;
  @IsOptional() @IsObject() ExposedPorts?: Record<string, unknown> | null;
  @IsOptional() @IsBoolean() Tty?: boolean;
  @IsOptional() @IsBoolean() OpenStdin?: boolean;
  @IsOptional() @IsBoolean() StdinOnce?: boolean;
  @IsOptional() @IsArray() @ArrayMaxSize(listItemsMax) @IsString({ each: true }) Env?: string[] | null;
  @TextOrList() @IsOptional() @IsArray() @IsString({ each: true }) Cmd?: string[] | null;
  @IsOptional() @IsObject() @ValidateNested() @Type(() => HealthcheckDto) Healthcheck?: HealthcheckDto | null;
  @IsOptional() @IsBoolean() ArgsEscaped?: boolean;
  @IsOptional() @IsString() Image?: string;
  @IsOptional() @IsObject() Volumes?: Record<string, unknown> | null;
  @IsOptional() @IsString() WorkingDir?: string;
  @TextOrList() @IsOptional() @IsArray() @IsString({ each: true }) Entrypoint?: string[] | null;
  @IsOptional() @IsBoolean() NetworkDisabled?: boolean;
  @IsOptional() @IsString() MacAddress?: string;
  @IsOptional() @IsArray() @IsString({ each: true }) OnBuild?: string[] | null;
  @IsOptional() @IsObject() Labels?: Record<string, string> | null;
  @IsOptional() @IsString() StopSignal?: string;
  @IsOptional() @IsInt() StopTimeout?: number | null;
  @TextOrList() @IsOptional() @IsArray() @IsString({ each: true }) Shell?: string[] | null;
  @IsOptional() @IsObject() @ValidateNested() @Type(() => HostConfigDto) HostConfig?: HostConfigDto | null;
  @Allow() NetworkingConfig?: unknown;
}

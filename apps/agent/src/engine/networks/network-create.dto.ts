/** The body of `POST /networks/create`, as far as a network of this node alone is concerned. */
import { EnxameError } from '#libs/model';
import { Type } from 'class-transformer';
import { IsArray, IsBoolean, IsObject, IsOptional, IsString, ValidateNested } from 'class-validator';

const namePattern = /^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/;
const addressPattern = /^\d{1,3}(\.\d{1,3}){3}$/;

class IpamConfigDto {
  @IsOptional() @IsString() Subnet?: string;
  @IsOptional() @IsString() IPRange?: string;
  @IsOptional() @IsString() Gateway?: string;
  @IsOptional() @IsObject() AuxiliaryAddresses?: Record<string, string>;
}

class IpamDto {
  @IsOptional() @IsString() Driver?: string;
  @IsOptional()
  @IsArray()
  @ValidateNested({ each: true })
  @Type(() => IpamConfigDto)
  Config?: IpamConfigDto[];
  @IsOptional() @IsObject() Options?: Record<string, string> | null;
}

export class LocalNetworkCreateDto {
  @IsString() Name!: string;
  @IsOptional() @IsString() Driver?: string;
  @IsOptional() @IsString() Scope?: string;
  @IsOptional() @IsBoolean() Internal?: boolean;
  @IsOptional() @IsBoolean() Attachable?: boolean;
  @IsOptional() @IsBoolean() Ingress?: boolean;
  @IsOptional() @IsBoolean() ConfigOnly?: boolean;
  @IsOptional() @IsObject() ConfigFrom?: { Network?: string } | null;
  @IsOptional() @IsObject() @ValidateNested() @Type(() => IpamDto) IPAM?: IpamDto | null;
  @IsOptional() @IsBoolean() EnableIPv4?: boolean;
  @IsOptional() @IsBoolean() EnableIPv6?: boolean;
  @IsOptional() @IsObject() Options?: Record<string, string> | null;
  @IsOptional() @IsObject() Labels?: Record<string, string> | null;
}

/** Whether the body asks for a network of this node alone. The rest is the cluster's. */
export function isLocalRequest(body: { Driver?: unknown; Scope?: unknown }): boolean {
  if (body.Scope === 'swarm') return false;
  return body.Driver === undefined || body.Driver === '' || body.Driver !== 'overlay';
}

/** What Docker's bridge has and routed networks have no use for. */
const idleOptions = ['com.docker.network.bridge.name', 'com.docker.network.bridge.default_bridge'];

/** What is asked for and not there is refused by name. */
export function checkLocalRequest(body: LocalNetworkCreateDto): void {
  if (!namePattern.test(body.Name)) {
    throw new EnxameError(
      'invalid-argument',
      `invalid Name: "${body.Name}" includes invalid characters, only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed`,
    );
  }
  const driver = body.Driver || 'bridge';
  if (['macvlan', 'ipvlan', 'host', 'null'].includes(driver)) throw missing(`the network driver ${driver}`);
  if (driver !== 'bridge') {
    throw new EnxameError(
      'not-found',
      `could not find plugin ${driver} in v1 plugin registry: plugin not found`,
    );
  }
  if (body.Ingress === true) throw invalid('Ingress network can only be global scoped');
  if (body.ConfigOnly === true || body.ConfigFrom?.Network) throw missing('config-only networks');
  if (body.EnableIPv6 === true) throw missing('IPv6 in networks (EnableIPv6)');
  if (body.EnableIPv4 === false) throw missing('networks without IPv4 (EnableIPv4)');
  for (const name of Object.keys(body.Options ?? {})) {
    if (!idleOptions.includes(name)) throw missing(`the network option ${name}`);
  }
  checkIpam(body);
}

function checkIpam({ IPAM: ipam }: LocalNetworkCreateDto): void {
  if (ipam?.Driver && ipam.Driver !== 'default') throw missing(`the IPAM driver ${ipam.Driver}`);
  if (Object.keys(ipam?.Options ?? {}).length > 0) throw missing('IPAM.Options');
  const configs = ipam?.Config ?? [];
  if (configs.length > 1) throw missing('more than one subnet per network (IPAM.Config)');
  const [config] = configs;
  if (config?.IPRange) throw missing('IPAM.Config[0].IPRange');
  if (Object.keys(config?.AuxiliaryAddresses ?? {}).length > 0)
    throw missing('IPAM.Config[0].AuxiliaryAddresses');
  if (config?.Gateway && !config.Subnet) throw invalid('invalid IPAM.Config[0]: a gateway needs a subnet');
  if (config?.Gateway && !addressPattern.test(config.Gateway))
    throw invalid(`invalid IPAM.Config[0].Gateway: ${config.Gateway}`);
}

function missing(what: string): EnxameError {
  return new EnxameError('not-implemented', `${what}: not available in this version`);
}

function invalid(message: string): EnxameError {
  return new EnxameError('invalid-argument', message);
}

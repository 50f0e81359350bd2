/** The bodies of `POST /swarm/init` and `/swarm/join`. */
import {
  ArrayMinSize,
  IsArray,
  IsBoolean,
  IsIn,
  IsInt,
  IsObject,
  IsOptional,
  IsString,
  Max,
  Min,
} from 'class-validator';

const availabilities = ['', 'active', 'pause', 'drain'];
const dataPathPort = { first: 1024, last: 49_151 };
/** Networks get blocks of a pool: smaller ones than /29 have no room for a gateway and tasks. */
const subnetSizes = { first: 8, last: 29 };

abstract class AddressesDto {
  @IsOptional() @IsString() ListenAddr?: string | null;
  @IsOptional() @IsString() AdvertiseAddr?: string | null;
  @IsOptional() @IsString() DataPathAddr?: string | null;
  @IsOptional() @IsIn(availabilities, { message: 'must be active, pause or drain' }) Availability?:
    | ''
    | 'active'
    | 'pause'
    | 'drain'
    | null;
}

export class SwarmInitDto extends AddressesDto {
  @IsOptional() @IsInt() @Min(0) @Max(dataPathPort.last) DataPathPort?: number | null;
  @IsOptional() @IsArray() @IsString({ each: true }) DefaultAddrPool?: string[] | null;
  @IsOptional() @IsInt() @Min(0) @Max(subnetSizes.last) SubnetSize?: number | null;
  @IsOptional() @IsBoolean() ForceNewCluster?: boolean | null;
  /** Checked by the manager, field by field. */
  @IsOptional() @IsObject() Spec?: Record<string, unknown> | null;
}

export class SwarmJoinDto extends AddressesDto {
  @IsArray()
  @ArrayMinSize(1, { message: 'at least 1 RemoteAddr is required to join' })
  @IsString({ each: true })
  RemoteAddrs!: string[];
  @IsString() JoinToken!: string;
}

export { dataPathPort, subnetSizes };

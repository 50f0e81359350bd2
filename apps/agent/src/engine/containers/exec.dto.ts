/** Bodies of the exec routes. */
import {
  ArrayMaxSize,
  ArrayMinSize,
  IsArray,
  IsBoolean,
  IsInt,
  IsOptional,
  IsString,
  Max,
  Min,
} from 'class-validator';

const consoleSideMax = 65_535;

export class ExecCreateDto {
  @IsOptional() @IsBoolean() AttachStdin?: boolean;
  @IsOptional() @IsBoolean() AttachStdout?: boolean;
  @IsOptional() @IsBoolean() AttachStderr?: boolean;
  @IsOptional() @IsString() DetachKeys?: string;
  @IsOptional() @IsBoolean() Tty?: boolean;
  @IsOptional() @IsArray() @IsString({ each: true }) Env?: string[] | null;
  @IsOptional() @IsArray() @IsString({ each: true }) Cmd?: string[] | null;
  @IsOptional() @IsBoolean() Privileged?: boolean;
  @IsOptional() @IsString() User?: string;
  @IsOptional() @IsString() WorkingDir?: string;
  /** Height and width. */
  @IsOptional()
  @IsArray()
  @ArrayMinSize(2)
  @ArrayMaxSize(2)
  @IsInt({ each: true })
  @Min(0, { each: true })
  @Max(consoleSideMax, { each: true })
  ConsoleSize?: [number, number] | null;
}

export class ExecStartDto {
  @IsOptional() @IsBoolean() Detach?: boolean;
  @IsOptional() @IsBoolean() Tty?: boolean;
  /** Height and width. */
  @IsOptional()
  @IsArray()
  @ArrayMinSize(2)
  @ArrayMaxSize(2)
  @IsInt({ each: true })
  @Min(0, { each: true })
  @Max(consoleSideMax, { each: true })
  ConsoleSize?: [number, number] | null;
}

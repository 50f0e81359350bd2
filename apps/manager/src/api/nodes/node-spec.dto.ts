/** The body of `POST /nodes/{id}/update`. */
import { IsIn } from 'class-validator';
import { OptionalMap, OptionalString } from '../edge/rules.js';

export class NodeSpecDto {
  @OptionalString() Name?: string;
  @OptionalMap() Labels?: Record<string, string>;
  @IsIn(['worker', 'manager']) Role!: 'worker' | 'manager';
  @IsIn(['active', 'pause', 'drain']) Availability!: 'active' | 'pause' | 'drain';
}

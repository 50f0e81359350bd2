/** The parts that every object of Docker's cluster API begins with. */
import { rfc3339Nano } from '#libs/docker-api';
import type { ObjectMeta } from '#libs/model';

export function presentMeta(object: Readonly<ObjectMeta> & { id: string }): Record<string, unknown> {
  return {
    ID: object.id,
    Version: { Index: object.version },
    CreatedAt: rfc3339Nano(object.createdAtMs),
    UpdatedAt: rfc3339Nano(object.updatedAtMs),
  };
}
